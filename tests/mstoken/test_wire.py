"""What travels between services is an interface: other versions, and other implementations, depend on it."""

from mstoken import wire


def test_names_on_the_wire() -> None:
    """Header names, schemes and claim names do not change by accident."""
    assert (wire.SERVICE_TOKEN_HEADER, wire.PROOF_HEADER, wire.NONCE_HEADER) == ("X-MS-TOKEN", "DPoP", "DPoP-Nonce")
    assert (wire.SERVICE_SCHEME, wire.PROOF_SCHEME, wire.BEARER_SCHEME) == ("MsToken", "DPoP", "Bearer")
    assert (wire.UID_PREFIX, wire.SERVICE_CLAIM, wire.CLAIM_VERSION) == ("svc:", "ms", 1)
    assert (wire.PROOF_TYPE, wire.SIGNATURE_ALGORITHM) == ("dpop+jwt", "ES256")


def test_ages_on_the_wire() -> None:
    """How long tokens, proofs and assertions are accepted is what the documentation promises."""
    assert (wire.ID_TOKEN_SECONDS, wire.FRESH_TOKEN_SECONDS) == (3600, 60)
    assert (wire.PROOF_SECONDS, wire.ASSERTION_SECONDS, wire.CLOCK_SKEW_SECONDS) == (30, 60, 5)


def test_a_longer_skew_than_an_age_would_void_the_age() -> None:
    """The clock skew is small beside everything that it is added to."""
    assert min(wire.PROOF_SECONDS, wire.FRESH_TOKEN_SECONDS, wire.ASSERTION_SECONDS) > 2 * wire.CLOCK_SKEW_SECONDS
