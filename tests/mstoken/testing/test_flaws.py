"""The names of flaws."""

import pytest
from fastapi.testclient import TestClient

from mstoken.testing.flaws import UnknownFlaw
from tests.mstoken.testing.conftest import AsService


@pytest.mark.parametrize(
    ("flaw", "code"),
    [
        ("token_expired", "token_expired"),
        ("stale", "token_stale"),
        ("wrong_audience", "token_wrong_audience"),
        ("exp has passed", "token_expired"),
        ("identity_disabled", "identity_disabled"),
    ],
)
def test_a_flaw_has_a_name_and_a_code(client: TestClient, as_service: AsService, flaw: str, code: str) -> None:
    """A flaw is known by its name in the table, by the code of the refusal, and by the code without "token_"."""
    assert client.get("/products", auth=as_service("billing", flaw=flaw)).json()["code"] == code


@pytest.mark.parametrize(("mode", "known"), [("fresh", "token_stale"), ("proof", "proof_missing")])
def test_an_unknown_flaw(client: TestClient, as_service: AsService, mode: str, known: str) -> None:
    """A misspelt flaw is an error that lists the codes."""
    with pytest.raises(UnknownFlaw, match=known):
        as_service("billing", mode=mode, flaw="expird")
