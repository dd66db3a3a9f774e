"""Every attack of the table against the running Product service, over HTTP."""

import re
from pathlib import Path

import psutil
import pytest

from emulator.run.stack import ROOT, Stack
from tests.attacks import wire
from tests.attacks.forge import Forge
from tests.attacks.proofs import PROOF_FLAWS
from tests.attacks.table import FLAWS, SERVICE_FLAWS, SMUGGLING, Flaw, Smuggling

MOST_CPU_SECONDS = 0.05
THREAT_MODEL = ROOT / "docs" / "threat-model.md"


def as_service(token: str) -> list[bytes]:
    return [b"X-MS-TOKEN: " + token.encode("utf-8", "surrogateescape")]


def as_user(token: str) -> list[bytes]:
    return [b"Authorization: Bearer " + token.encode("utf-8", "surrogateescape")]


def test_what_is_spoilt_was_good(target: Stack, forge: Forge) -> None:
    """The tokens that the table starts from are accepted: each refusal is for its flaw alone."""
    assert wire.send(target.ports.product, as_service(forge.signed(forge.service_claims()))).status == 200
    assert (
        wire.send(target.ports.product, as_user(forge.signed(forge.user_claims("svc-less")))).code
        == "user_token_revoked"
    )


@pytest.mark.parametrize("flaw", FLAWS + SERVICE_FLAWS, ids=lambda flaw: flaw.name)
def test_a_flaw_in_a_service_token(target: Stack, forge: Forge, flaw: Flaw) -> None:
    """It is refused with the table's code."""
    token = flaw.spoil(forge, forge.service_claims())
    assert str(wire.send(target.ports.product, as_service(token))) == flaw.code


@pytest.mark.parametrize("flaw", FLAWS, ids=lambda flaw: flaw.name)
def test_a_flaw_in_a_user_token(target: Stack, forge: Forge, flaw: Flaw) -> None:
    """The same flaw in a user's token is refused as an invalid one."""
    token = flaw.spoil(forge, forge.user_claims("maya"))
    assert str(wire.send(target.ports.product, as_user(token))) == "user_token_invalid"


@pytest.mark.parametrize("smuggling", SMUGGLING, ids=lambda smuggling: smuggling.name)
def test_smuggled_headers(target: Stack, forge: Forge, smuggling: Smuggling) -> None:
    """Two readings of one header are refused; a header in another case is the same header."""
    tokens = [forge.signed(forge.service_claims()).encode() for _ in range(2)]
    path = b"/products?limit=1&X-MS-TOKEN=" + tokens[0] if smuggling.name == "in the query" else b"/products?limit=1"
    answer = wire.send(target.ports.product, smuggling.lines(tokens[0], tokens[1]), path)
    assert str(answer) in smuggling.code.split(" or ")


def cpu_seconds(process: psutil.Process) -> float:
    """The processor time that a process and its children have used."""
    family = [process, *process.children(recursive=True)]
    return sum(times.user + times.system for times in (member.cpu_times() for member in family))


@pytest.fixture(scope="session")
def product(target: Stack) -> psutil.Process:
    """The process that is attacked."""
    for process in psutil.process_iter(["cmdline"]):
        if {"services.product.app:create_app", str(target.ports.product)} <= set(process.info["cmdline"] or ()):
            return process
    raise AssertionError("the product service is not running")


@pytest.mark.parametrize("flaw", FLAWS, ids=lambda flaw: flaw.name)
def test_no_attack_is_dear(target: Stack, forge: Forge, product: psutil.Process, flaw: Flaw) -> None:
    """None costs the service more than 50 ms of processor time: the least of three, since other work is counted too."""
    token = flaw.spoil(forge, forge.service_claims())
    costs = []
    for _ in range(3):
        before = cpu_seconds(product)
        wire.send(target.ports.product, as_service(token))
        costs.append(cpu_seconds(product) - before)
    assert min(costs) <= MOST_CPU_SECONDS


def documented() -> dict[str, str]:
    """The table of docs/threat-model.md: attack and code."""
    rows = re.findall(r"^\| (.+?) \| `(.+?)` \|$", Path(THREAT_MODEL).read_text(), re.MULTILINE)
    return {attack.replace("\\|", "|"): code for attack, code in rows}


def test_the_table_is_in_the_threat_model() -> None:
    """Line by line, with the same codes."""
    flaws = {flaw.name: flaw.code for flaw in FLAWS + SERVICE_FLAWS}
    proof_flaws = {flaw.name: flaw.code for flaw in PROOF_FLAWS}
    assert documented() == flaws | proof_flaws | {smuggling.name: smuggling.code for smuggling in SMUGGLING}
