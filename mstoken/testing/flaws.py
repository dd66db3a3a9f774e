"""Calls with one flaw, by the names that the table of attacks has for them."""

from collections.abc import Sequence

from mstoken.testing.proof_flaws import PATH, PROOF_FLAWS, ProofFlaw
from mstoken.testing.token_flaws import FLAWS, SERVICE_FLAWS, Flaw

USER_FLAWS: Sequence[Flaw] = FLAWS
"""The flaws that a user's token can have."""
FRESH_FLAWS: Sequence[Flaw] = [*FLAWS, *SERVICE_FLAWS]
"""The flaws that a service token can have."""
BOUND_FLAWS: Sequence[ProofFlaw] = [flaw for flaw in PROOF_FLAWS if flaw.path == PATH]
"""The flaws that a bound token or its proof can have, in a call of any path."""


class UnknownFlaw(ValueError):
    """No attack has this name, and no attack of this kind is refused with this code."""

    def __init__(self, name: str, known: Sequence[Flaw | ProofFlaw]) -> None:
        codes = sorted({flaw.code for flaw in known})
        super().__init__(
            f"{name!r} is not a flaw of such a call. Use the name of an attack from the table in docs/threat-model.md, "
            f"or the code of the refusal: {', '.join(codes)}."
        )


def token_flaw(name: str, known: Sequence[Flaw]) -> Flaw:
    """Return the flaw with this name, or the first that is refused with this code: "token_expired" or "expired".

    Raises `UnknownFlaw`.
    """
    for flaw in known:
        if name in _names(flaw):
            return flaw
    raise UnknownFlaw(name, known)


def proof_flaw(name: str) -> ProofFlaw:
    """Return the flaw of a call in proof mode, as `token_flaw` does."""
    for flaw in BOUND_FLAWS:
        if name in _names(flaw):
            return flaw
    raise UnknownFlaw(name, BOUND_FLAWS)


def _names(flaw: Flaw | ProofFlaw) -> tuple[str, ...]:
    return flaw.name, flaw.code, flaw.code.removeprefix("token_")
