"""Every attack of the table, on the running Product service."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from emulator.attacks import wire
from emulator.attacks.recorded import RECORDED
from emulator.attacks.smuggling import SMUGGLING, Smuggling
from emulator.attacks.trailers import TRAILERS
from emulator.run.stack import ROOT, Stack
from mstoken.testing.forge import Forge
from mstoken.testing.proof_flaws import PROOF_FLAWS
from mstoken.testing.token_flaws import FLAWS, SERVICE_FLAWS, Flaw

MAX_CPU_SECONDS = 0.05
THREAT_MODEL = ROOT / "docs" / "threat-model.md"


def as_service(token: str) -> list[bytes]:
    return [b"X-MS-TOKEN: " + token.encode("utf-8", "surrogateescape")]


def as_user(token: str) -> list[bytes]:
    return [b"Authorization: Bearer " + token.encode("utf-8", "surrogateescape")]


def test_a_token_without_a_flaw_is_accepted(target: Stack, forge: Forge) -> None:
    """So each refusal of the table is for the flaw alone."""
    assert wire.send(target.ports.product, as_service(forge.signed(forge.service_claims()))).status == 200
    assert (
        wire.send(target.ports.product, as_user(forge.signed(forge.user_claims("svc-less")))).code
        == "user_token_revoked"
    )


@pytest.mark.parametrize("flaw", FLAWS + SERVICE_FLAWS, ids=lambda flaw: flaw.name)
def test_a_service_token_with_a_flaw_is_refused(target: Stack, forge: Forge, flaw: Flaw) -> None:
    """The code of the refusal is that of the table."""
    token = flaw.spoil(forge, forge.service_claims())
    assert str(wire.send(target.ports.product, as_service(token))) == flaw.code


@pytest.mark.parametrize("flaw", FLAWS, ids=lambda flaw: flaw.name)
def test_a_user_token_with_a_flaw_is_refused(target: Stack, forge: Forge, flaw: Flaw) -> None:
    """The code is `user_token_invalid`, whatever the flaw is."""
    token = flaw.spoil(forge, forge.user_claims("maya"))
    assert str(wire.send(target.ports.product, as_user(token))) == "user_token_invalid"


@pytest.mark.parametrize("smuggling", SMUGGLING, ids=lambda smuggling: smuggling.name)
def test_ambiguous_header_lines_are_refused(target: Stack, forge: Forge, smuggling: Smuggling) -> None:
    """Header lines that could be read in two ways are refused. The case of a name makes no difference."""
    tokens = [forge.signed(forge.service_claims()).encode() for _ in range(2)]
    answer = wire.send(target.ports.product, smuggling.lines(tokens[0], tokens[1]), smuggling.path(tokens[0]))
    assert str(answer) in smuggling.code.split(" or ")


@pytest.mark.parametrize("flaw", FLAWS, ids=lambda flaw: flaw.name)
def test_no_attack_needs_much_processor_time(
    target: Stack, forge: Forge, product_cpu_seconds: Callable[[], float], flaw: Flaw
) -> None:
    """It is at most 50 ms: the least of three measurements, because they count the other work of the process too."""
    token = flaw.spoil(forge, forge.service_claims())
    costs = []
    for _ in range(3):
        before = product_cpu_seconds()
        wire.send(target.ports.product, as_service(token))
        costs.append(product_cpu_seconds() - before)
    assert min(costs) <= MAX_CPU_SECONDS


def documented() -> dict[str, str]:
    """Return the table of docs/threat-model.md: attacks and codes."""
    rows = re.findall(r"^\| (.+?) \| `(.+?)` \|$", Path(THREAT_MODEL).read_text(), re.MULTILINE)
    return {attack.replace("\\|", "|"): code for attack, code in rows}


def test_the_table_is_in_the_threat_model() -> None:
    """The documented attacks and their codes are those of the tests."""
    flaws = {flaw.name: flaw.code for flaw in FLAWS + SERVICE_FLAWS}
    proof_flaws = {flaw.name: flaw.code for flaw in PROOF_FLAWS}
    trailers = {trailer.name: trailer.code for trailer in TRAILERS}
    smuggling = {smuggling.name: smuggling.code for smuggling in SMUGGLING}
    recorded = {recorded.name: recorded.code for recorded in RECORDED}
    assert documented() == flaws | proof_flaws | smuggling | trailers | recorded
