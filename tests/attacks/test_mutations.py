"""Valid tokens, changed a little: never accepted, never an error of the server."""

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from emulator.run.stack import Stack
from tests.attacks import wire
from tests.attacks.forge import Forge

BYTES = st.integers(0, 255).filter(lambda byte: byte not in b"\r\n").map(lambda byte: bytes([byte]))
"""Any byte but those that end a header line."""


@st.composite
def mutations(draw: st.DrawFn) -> tuple[str, float, bytes]:
    """What to do, where (0 to 1 of the length), and with which bytes."""
    kind = draw(st.sampled_from(["replace", "insert", "delete", "cut", "double"]))
    # The ends of the parts are where mistakes in decoding show.
    place = draw(st.floats(0, 1) | st.sampled_from([0.0, 1.0]))
    return kind, place, draw(BYTES)


def mutated(token: bytes, kind: str, place: float, new: bytes) -> bytes:
    """`token` with one change."""
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
def test_a_token_that_was_changed(target: Stack, forge: Forge, header: bytes, change: tuple[str, float, bytes]) -> None:
    """One byte replaced, added or taken away, anywhere; or the token cut, or its beginning doubled."""
    claims = forge.service_claims() if header.startswith(b"X") else forge.user_claims("maya")
    token = forge.signed(claims).encode()
    other = mutated(token, *change)
    assume(other.strip(b" \t") != token)
    answer = wire.send(target.ports.product, [header + other])
    assert answer.status in (400, 401)
