"""The known attacks with trailers: which header and trailer lines are sent, and the code of the refusal.

A trailer is a list of fields after a chunked body. It must not count as a header (RFC 9110, section 6.5.1): a proxy in
front of a service, which removes or adds credentials, looks at headers only.

docs/threat-model.md has the same table. A test compares the two.
"""

from collections.abc import Callable
from dataclasses import dataclass

from mstoken.testing.forge import Forge
from mstoken.testing.proof_flaws import Holder, header_lines

Lines = list[str]


@dataclass(frozen=True)
class Trailer:
    """The header lines and the trailer lines of a request, and the code of its refusal.

    If the trailer lines were header lines, the request would be accepted.
    """

    name: str
    code: str
    lines: Callable[[Forge, Holder], tuple[Lines, Lines]]
    segments: int


def _service_token(forge: Forge, _holder: Holder) -> tuple[Lines, Lines]:
    return [], [f"X-MS-TOKEN: {forge.signed(forge.service_claims())}"]


def _proof(_forge: Forge, holder: Holder) -> tuple[Lines, Lines]:
    token, proof = header_lines(holder, holder.proof())
    return [token], [proof]


def _service_token_and_proof(_forge: Forge, holder: Holder) -> tuple[Lines, Lines]:
    return [], header_lines(holder, holder.proof())


def _user_token(forge: Forge, _holder: Holder) -> tuple[Lines, Lines]:
    return [], [f"Authorization: Bearer {forge.signed(forge.user_claims('seed-maya'))}"]


TRAILERS = [
    Trailer(f"{what} in a trailer, in {'one segment' if segments == 1 else 'two segments'}", code, lines, segments)
    for what, code, lines in (
        ("X-MS-TOKEN", "token_missing", _service_token),
        ("DPoP", "proof_missing", _proof),
        ("X-MS-TOKEN and DPoP", "token_missing", _service_token_and_proof),
        ("Authorization", "token_missing", _user_token),
    )
    for segments in (1, 2)
]
