"""Every attack on proof mode against the running Product service, over HTTP."""

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from emulator.run.stack import Stack
from mstoken import ServiceIdentity, Settings
from tests.attacks import wire
from tests.attacks.forge import Forge
from tests.attacks.proofs import PATH, PROOF_FLAWS, Holder, ProofFlaw, sent
from tests.attacks.wire import Answer


@pytest.fixture
def holder(target: Stack, forge: Forge) -> Holder:
    """Somebody who may call Product with proofs."""
    return Holder(forge, target.url("product"))


def product_answers(target: Stack, lines: list[str], *, host: bytes = b"product") -> Answer:
    return wire.send(target.ports.product, [line.encode() for line in lines], PATH.encode(), host=host)


def test_what_is_spoilt_was_good_with_its_proof(target: Stack, holder: Holder) -> None:
    """The calls that the table starts from are accepted: each refusal is for its flaw alone."""
    assert product_answers(target, sent(holder, holder.proof())).status == 200
    assert product_answers(target, sent(holder, holder.proof(jti="x" * 128, nonce="unasked", more=1))).status == 200


@pytest.mark.parametrize("flaw", PROOF_FLAWS, ids=lambda flaw: flaw.name)
def test_a_flaw_in_a_proof(target: Stack, holder: Holder, flaw: ProofFlaw) -> None:
    """It is refused with the table's code."""
    assert str(product_answers(target, flaw.lines(holder))) == flaw.code


@dataclass(frozen=True)
class Captured:
    """A call that somebody has seen on its way, headers and all."""

    target: Stack
    lines: list[bytes]

    def sent_to(self, service: str = "product", path: str = PATH, method: str = "GET") -> str:
        port = getattr(self.target.ports, service)
        return str(wire.send(port, self.lines, path.encode(), method=method.encode()))


@pytest.fixture
def captured(target: Stack, auth_emulator: Settings) -> Iterator[Captured]:
    """A call of Billing's to Product, as a `ServiceIdentity` makes it."""
    with ServiceIdentity("billing", auth_emulator) as billing:
        request = httpx.Request("GET", target.url("product") + PATH)
        flow = billing.to("product", mode="proof").sync_auth_flow(request)
        headers = next(flow).headers
        yield Captured(target, [f"{name}: {headers[name]}".encode() for name in ("X-MS-TOKEN", "DPoP")])


def test_a_captured_call_is_worth_nothing(captured: Captured) -> None:
    """Sent again, to another path, with another method or to another service it is refused, each for what it is."""
    assert captured.sent_to() == "accepted"
    assert captured.sent_to() == "proof_replayed"
    assert captured.sent_to(path="/products/kettle") == "proof_invalid"
    assert captured.sent_to(method="POST") == "proof_invalid"
    assert captured.sent_to("user", path="/users/maya") == "token_wrong_audience"
    assert captured.sent_to("billing", path="/deliveries/d/events", method="POST") == "token_wrong_audience"


def test_a_captured_call_that_never_arrived(captured: Captured) -> None:
    """It can be used for what it was made for, and for nothing else first."""
    assert captured.sent_to(path="/products/kettle") == "proof_invalid"
    assert captured.sent_to() == "accepted"


def test_the_host_header_is_not_believed(target: Stack, holder: Holder) -> None:
    """A proof for another host does not pass, though the request says that it is for that host; the right one does."""
    wrong = sent(holder, holder.proof(htu=f"http://evil.example{PATH}"))
    for line in "X-Forwarded-Host: evil.example", "Forwarded: host=evil.example;proto=http":
        assert str(product_answers(target, [*wrong, line])) == "proof_invalid"
    assert str(product_answers(target, wrong, host=b"evil.example")) == "proof_invalid"
    assert str(product_answers(target, sent(holder, holder.proof()), host=b"evil.example")) == "accepted"
