"""The whole table of attacks, in one list: from `mstoken.testing`, and from the modules of this room."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from emulator.attacks.recorded import RECORDED, Prepared, Recorded, Victims
from emulator.attacks.smuggling import SMUGGLING, Smuggling
from emulator.attacks.trailers import TRAILERS, Trailer
from emulator.attacks.wire import RawRequest
from mstoken.testing.forge import Forge
from mstoken.testing.proof_flaws import PROOF_FLAWS, Holder, ProofFlaw
from mstoken.testing.token_flaws import FLAWS, SERVICE_FLAWS, Flaw

ACCEPTED = "accepted"


@dataclass(frozen=True)
class Tools:
    """What an attacker has. `holder` is called for a new key and a token that is bound to it."""

    forge: Forge
    holder: Callable[[], Holder]
    victims: Victims


Prepare: TypeAlias = Callable[[Tools], Prepared]


@dataclass(frozen=True)
class Attack:
    """An attack: where it belongs, what it is, and how it must be answered. "a or b": either is right.

    A few rows are not attacks: they are answered with "accepted", since they mean the same as a plain call.
    """

    id: str
    group: str
    name: str
    code: str
    prepare: Prepare

    @property
    def codes(self) -> list[str]:
        """The answers that are right."""
        return self.code.split(" or ")

    @property
    def must_be_refused(self) -> bool:
        """Whether this is an attack."""
        return ACCEPTED not in self.codes


GROUPS = {
    "calls": "Recorded calls, and other callers",
    "proofs": "Bound tokens and proofs with one thing wrong",
    "services": "Service tokens with one thing wrong",
    "tokens": "Tokens with one thing wrong",
    "headers": "Header lines",
    "trailers": "Trailers",
    "users": "The same in a user's token",
}
"""The groups of attacks: id -> title."""


def encoded(text: str) -> bytes:
    """Return a header line as bytes. Lone surrogates stand for bytes that are not UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def control(tools: Tools) -> Prepared:
    """Return a call without a flaw, which must be accepted. So each refusal is for the flaw alone."""
    return Prepared(RawRequest([encoded(f"X-MS-TOKEN: {tools.forge.signed(tools.forge.service_claims())}")]))


def proof_control(tools: Tools) -> Prepared:
    """Return a call in proof mode without a flaw, which must be accepted."""
    holder = tools.holder()
    lines = [f"X-MS-TOKEN: {holder.token}", f"DPoP: {holder.proof()}"]
    return Prepared(RawRequest([encoded(line) for line in lines], encoded(holder.path)))


def _service_flaw(flaw: Flaw, tools: Tools) -> Prepared:
    token = flaw.spoil(tools.forge, tools.forge.service_claims())
    return Prepared(RawRequest([encoded(f"X-MS-TOKEN: {token}")]))


def _user_flaw(flaw: Flaw, tools: Tools) -> Prepared:
    token = flaw.spoil(tools.forge, tools.forge.user_claims("seed-maya"))
    return Prepared(RawRequest([encoded(f"Authorization: Bearer {token}")]))


def _proof_flaw(flaw: ProofFlaw, tools: Tools) -> Prepared:
    return Prepared(RawRequest([encoded(line) for line in flaw.lines(tools.holder())], encoded(flaw.path)))


def _smuggling(smuggling: Smuggling, tools: Tools) -> Prepared:
    tokens = [tools.forge.signed(tools.forge.service_claims()).encode() for _ in range(2)]
    return Prepared(RawRequest(smuggling.lines(*tokens), smuggling.path(tokens[0])))


def _trailer(trailer: Trailer, tools: Tools) -> Prepared:
    header, end = ([encoded(line) for line in lines] for lines in trailer.lines(tools.forge, tools.holder()))
    return Prepared(RawRequest(header, trailer_lines=end, segments=trailer.segments))


def _recorded(recorded: Recorded, tools: Tools) -> Prepared:
    return recorded.prepare(tools.victims)


def _rows() -> Sequence[tuple[str, str, str, Prepare]]:
    return [
        *(("calls", row.name, row.code, partial(_recorded, row)) for row in RECORDED),
        *(("proofs", row.name, row.code, partial(_proof_flaw, row)) for row in PROOF_FLAWS),
        *(("services", row.name, row.code, partial(_service_flaw, row)) for row in SERVICE_FLAWS),
        *(("tokens", row.name, row.code, partial(_service_flaw, row)) for row in FLAWS),
        *(("headers", row.name, row.code, partial(_smuggling, row)) for row in SMUGGLING),
        *(("trailers", row.name, row.code, partial(_trailer, row)) for row in TRAILERS),
        *(("users", row.name, "user_token_invalid", partial(_user_flaw, row)) for row in FLAWS),
    ]


def _attacks() -> list[Attack]:
    numbers = dict.fromkeys(GROUPS, 0)
    found = []
    for group, name, code, prepare in _rows():
        numbers[group] += 1
        found.append(Attack(f"{group}-{numbers[group]}", group, name, code, prepare))
    return found


ATTACKS = _attacks()
"""Every row, with an id that stays the same as long as no row before it in its group comes or goes."""
