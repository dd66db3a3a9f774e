"""The compact JWS of Project Wycheproof, over HTTP, in each header that the running Product service reads."""

from collections import Counter

import pytest

from emulator.attacks import wire
from emulator.run.stack import Stack
from mstoken.testing.proof_flaws import PATH, Holder
from tests.wycheproof import vectors


@pytest.fixture
def texts() -> list[str]:
    """The text of every vector."""
    return [vector.data["jws"] for name in ("json_web_signature_test", "json_web_key_test") for vector in vectors(name)]


def refusals(target: Stack, lines: list[list[str]]) -> Counter[str]:
    """Send a request with each of these header lines. Return the answers, and how many there are of each."""
    port = target.ports.product
    return Counter(str(wire.send(port, [line.encode() for line in more], PATH.encode())) for more in lines)


def test_in_the_header_of_service_tokens(target: Stack, texts: list[str]) -> None:
    """Every vector is refused as malformed: its payload is not JSON."""
    found = refusals(target, [[f"X-MS-TOKEN: {text}"] for text in texts])
    assert found == {"token_malformed": len(texts)}


def test_in_the_header_of_proofs(target: Stack, holder: Holder, texts: list[str]) -> None:
    """Beside a good token, every vector is refused as a proof that is not valid."""
    found = refusals(target, [[f"X-MS-TOKEN: {holder.token}", f"DPoP: {text}"] for text in texts])
    assert found == {"proof_invalid": len(texts)}


def test_in_the_header_of_user_tokens(target: Stack, texts: list[str]) -> None:
    """Every vector is refused as a user's token that is not valid."""
    found = refusals(target, [[f"Authorization: Bearer {text}"] for text in texts])
    assert found == {"user_token_invalid": len(texts)}
