"""Valid tokens with a small change are never accepted, and never cause an error of the server."""

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from emulator.attacks import wire
from emulator.run.stack import Stack
from mstoken.testing.forge import Forge

BYTES = st.integers(0, 255).filter(lambda byte: byte not in b"\r\n").map(lambda byte: bytes([byte]))
"""All bytes but those that end a header line."""


@st.composite
def mutations(draw: st.DrawFn) -> tuple[str, float, bytes]:
    """Return the kind of a change, its place (from 0 to 1 of the length), and a byte for it."""
    kind = draw(st.sampled_from(["replace", "insert", "delete", "cut", "double"]))
    # Mistakes in decoding show at the ends.
    place = draw(st.floats(0, 1) | st.sampled_from([0.0, 1.0]))
    return kind, place, draw(BYTES)


def mutated(token: bytes, kind: str, place: float, new: bytes) -> bytes:
    """Return `token` with one change."""
    index = min(int(place * len(token)), len(token) - 1)
    match kind:
        case "replace":
            return token[:index] + new + token[index + 1 :]
        case "insert":
            return token[:index] + new + token[index:]
        case "delete":
            return token[:index] + token[index + 1 :]
        case "cut":
            return token[:index]
        case _:
            return token[:index] + token


@pytest.mark.parametrize("header", [b"X-MS-TOKEN: ", b"Authorization: Bearer "])
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(change=mutations())
def test_a_changed_token_is_refused(
    target: Stack, forge: Forge, header: bytes, change: tuple[str, float, bytes]
) -> None:
    """One byte is replaced, inserted or deleted, or the token is cut, or its beginning is repeated."""
    claims = forge.service_claims() if header.startswith(b"X") else forge.user_claims("maya")
    token = forge.signed(claims).encode()
    other = mutated(token, *change)
    assume(other.strip(b" \t") != token)
    answer = wire.send(target.ports.product, [header + other])
    assert answer.status in (400, 401)
