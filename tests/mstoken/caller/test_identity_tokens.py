"""Identity tokens: those of the metadata server. test_credentials.py has the way from a process to a token."""

from collections.abc import Iterator

import pytest

from mstoken.caller.identity_tokens import (
    ATTEMPTS,
    EARLY_SECONDS,
    IDENTITY_PATH,
    IdentityToken,
    IdentityTokenMissing,
    fetch_identity_token,
)
from tests.mstoken.metadata_server import Google, token_of
from tests.mstoken.test_settings import environment

AUDIENCE = "https://tokens.example/token?a=b&c"


@pytest.fixture
def google() -> Iterator[Google]:
    """A metadata server, which this process uses."""
    with Google() as google, environment(GCE_METADATA_HOST=google.host):
        yield google


def test_the_request_of_an_identity_token(google: Google) -> None:
    """One request asks for the audience, in the format that names the account."""
    token = fetch_identity_token(AUDIENCE)
    assert token.expires_at > 0
    assert google.paths == [IDENTITY_PATH]
    assert google.queries == [{"audience": [AUDIENCE], "format": ["full"]}]


@pytest.mark.parametrize(
    ("status", "requests"), [(404, 1), (403, 1), (429, ATTEMPTS), (500, ATTEMPTS), (503, ATTEMPTS)]
)
def test_what_is_asked_again(google: Google, status: int, requests: int) -> None:
    """A server that is overloaded or broken is asked again. The text does not repeat its answer."""
    google.answers["/identity"] = (status, "made-up-secret")
    pauses: list[float] = []
    with pytest.raises(IdentityTokenMissing, match=f"answered {status}") as caught:
        fetch_identity_token(AUDIENCE, sleep=pauses.append)
    assert len(google.paths) == requests == len(pauses) + 1
    assert sum(pauses) < 1
    assert "made-up-secret" not in str(caught.value)


def test_when_a_token_is_no_longer_used() -> None:
    """It must not expire on its way to the token service."""
    token = IdentityToken.read(token_of({"exp": 1_800_000_000}))
    assert token.is_usable(1_800_000_000 - EARLY_SECONDS - 1)
    assert not token.is_usable(1_800_000_000 - EARLY_SECONDS)


@pytest.mark.parametrize("claims", [{}, {"exp": "1800000000"}, {"exp": True}, {"exp": 10**20}, [], "exp"])
def test_a_token_without_an_expiry(claims: object) -> None:
    """Such a token is none."""
    with pytest.raises(ValueError, match=r"exp|object|JSON|not"):
        IdentityToken.read(token_of(claims))
