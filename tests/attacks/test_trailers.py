"""Every attack with a trailer, on the running Product service."""

import pytest

from emulator.attacks import wire
from emulator.attacks.trailers import TRAILERS, Trailer
from emulator.run.stack import Stack
from mstoken.testing.forge import Forge
from mstoken.testing.proof_flaws import Holder


def encoded(lines: list[str]) -> list[bytes]:
    return [line.encode() for line in lines]


@pytest.mark.parametrize("trailer", TRAILERS, ids=lambda trailer: trailer.name)
def test_a_trailer_does_not_count_as_a_header(target: Stack, forge: Forge, holder: Holder, trailer: Trailer) -> None:
    """The code of the refusal is that of the table."""
    header_lines, trailer_lines = map(encoded, trailer.lines(forge, holder))
    answer = wire.send_with_trailer(target.ports.product, header_lines, trailer_lines, segments=trailer.segments)
    assert str(answer) == trailer.code


@pytest.mark.parametrize("trailer", TRAILERS[::2], ids=lambda trailer: trailer.name)
def test_the_same_lines_as_headers_are_accepted(target: Stack, forge: Forge, holder: Holder, trailer: Trailer) -> None:
    """So each refusal of the table is for the trailer alone."""
    header_lines, trailer_lines = trailer.lines(forge, holder)
    assert str(wire.send(target.ports.product, encoded(header_lines + trailer_lines))) == "accepted"


@pytest.mark.parametrize("segments", [1, 2])
def test_a_trailer_does_not_make_a_call_invalid(target: Stack, forge: Forge, segments: int) -> None:
    """A valid call with a trailer is accepted, also if the trailer repeats a header."""
    line = b"X-MS-TOKEN: " + forge.signed(forge.service_claims()).encode()
    answer = wire.send_with_trailer(target.ports.product, [line], [line], segments=segments)
    assert str(answer) == "accepted"
