"""The names and limits on the wire are an interface: other versions and other implementations depend on them."""

import ast
from pathlib import Path

import pytest

from mstoken import wire

LIBRARY = Path(wire.__file__).parent
ATTACKS = {"forge.py", "token_flaws.py", "proof_flaws.py"}
"""The tables of attacks write what an attacker would send, and not what this library writes."""
MODULES = [path for path in sorted(LIBRARY.rglob("*.py")) if path.name not in ATTACKS and path.name != "wire.py"]
NAMES = {
    wire.SERVICE_TOKEN_HEADER,
    wire.PROOF_HEADER,
    wire.NONCE_HEADER,
    wire.SERVICE_SCHEME,
    wire.UID_PREFIX,
    wire.SERVICE_CLAIM,
    wire.PROOF_TYPE,
}


def test_names_on_the_wire() -> None:
    """Header names, auth-schemes and claim names do not change by accident."""
    assert (wire.SERVICE_TOKEN_HEADER, wire.PROOF_HEADER, wire.NONCE_HEADER) == ("X-MS-TOKEN", "DPoP", "DPoP-Nonce")
    assert (wire.SERVICE_SCHEME, wire.PROOF_SCHEME, wire.BEARER_SCHEME) == ("MsToken", "DPoP", "Bearer")
    assert (wire.UID_PREFIX, wire.SERVICE_CLAIM, wire.CLAIM_VERSION) == ("svc:", "ms", 1)
    assert (wire.PROOF_TYPE, wire.SIGNATURE_ALGORITHM) == ("dpop+jwt", "ES256")


def test_ages_on_the_wire() -> None:
    """Tokens, proofs and assertions are accepted for as long as the documentation promises, and no longer."""
    assert (wire.ID_TOKEN_LIFETIME_SECONDS, wire.CUSTOM_TOKEN_LIFETIME_SECONDS) == (3600, 3600)
    assert (wire.FRESH_TOKEN_MAX_AGE_SECONDS, wire.PROOF_MAX_AGE_SECONDS) == (60, 30)
    assert (wire.ASSERTION_MAX_AGE_SECONDS, wire.CLOCK_SKEW_SECONDS) == (60, 5)


def test_the_clock_skew_is_small_beside_every_age() -> None:
    """The skew is added to each maximum age: a skew as long as an age would make that age meaningless."""
    ages = (wire.PROOF_MAX_AGE_SECONDS, wire.FRESH_TOKEN_MAX_AGE_SECONDS, wire.ASSERTION_MAX_AGE_SECONDS)
    assert min(ages) > 2 * wire.CLOCK_SKEW_SECONDS


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_no_other_module_repeats_a_name(path: Path) -> None:
    """The names on the wire are written in `mstoken.wire` only. Other modules import them."""
    texts = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
    assert texts & NAMES == set()
