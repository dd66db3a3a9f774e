"""Every flaw of a proof, in the credentials of a test."""

import pytest
from fastapi.testclient import TestClient

from mstoken.testing.flaws import BOUND_FLAWS
from mstoken.testing.proof_flaws import ProofFlaw
from tests.mstoken.testing.conftest import AsService


@pytest.mark.parametrize("flaw", BOUND_FLAWS, ids=lambda flaw: flaw.name)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_flaw_of_a_proof(client: TestClient, as_service: AsService, flaw: ProofFlaw, method: str) -> None:
    """The app refuses each attack on proofs, whatever the method and the path of the call are."""
    billing = as_service("billing", mode="proof", flaw=flaw.name)
    assert client.request(method, "/products", auth=billing).json()["code"] == flaw.code
