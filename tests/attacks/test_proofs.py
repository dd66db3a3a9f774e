"""Every attack on proof mode, on the running Product service."""

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from emulator.attacks import wire
from emulator.attacks.wire import Answer
from emulator.run.stack import Stack
from mstoken import ServiceIdentity, Settings
from mstoken.testing.proof_flaws import PATH, PROOF_FLAWS, Holder, ProofFlaw, header_lines


def product_answers(target: Stack, lines: list[str], path: str = PATH, *, host: bytes = b"product") -> Answer:
    return wire.send(target.ports.product, [line.encode() for line in lines], path.encode(), host=host)


def test_a_proof_without_a_flaw_is_accepted(target: Stack, holder: Holder) -> None:
    """So each refusal of the table is for the flaw alone."""
    assert product_answers(target, header_lines(holder, holder.proof())).status == 200
    assert (
        product_answers(target, header_lines(holder, holder.proof(jti="x" * 128, nonce="unasked", more=1))).status
        == 200
    )


@pytest.mark.parametrize("flaw", PROOF_FLAWS, ids=lambda flaw: flaw.name)
def test_a_proof_with_a_flaw_is_refused(target: Stack, holder: Holder, flaw: ProofFlaw) -> None:
    """The code of the refusal is that of the table."""
    assert str(product_answers(target, flaw.lines(holder), flaw.path)) == flaw.code


@dataclass(frozen=True)
class Captured:
    """A call with its headers, as an attacker on the network saw it."""

    target: Stack
    lines: list[bytes]

    def sent_to(self, service: str = "product", path: str = PATH, method: str = "GET") -> str:
        port = getattr(self.target.ports, service)
        return str(wire.send(port, self.lines, path.encode(), method=method.encode()))


@pytest.fixture
def captured(target: Stack, auth_emulator: Settings) -> Iterator[Captured]:
    """A call from Billing to Product, made by a `ServiceIdentity`."""
    with ServiceIdentity("billing", auth_emulator) as billing:
        request = httpx.Request("GET", target.url("product") + PATH)
        flow = billing.to("product", mode="proof").sync_auth_flow(request)
        headers = next(flow).headers
        yield Captured(target, [f"{name}: {headers[name]}".encode() for name in ("X-MS-TOKEN", "DPoP")])


def test_a_captured_call_is_refused(captured: Captured) -> None:
    """It is refused if it is sent again, to another path, with another method, or to another service."""
    assert captured.sent_to() == "accepted"
    assert captured.sent_to() == "proof_replayed"
    assert captured.sent_to(path="/products/kettle") == "proof_invalid"
    assert captured.sent_to(method="POST") == "proof_invalid"
    assert captured.sent_to("user", path="/users/maya") == "token_wrong_audience"
    assert captured.sent_to("billing", path="/deliveries/d/events", method="POST") == "token_wrong_audience"


def test_a_proof_does_not_cover_the_query_and_other_headers(target: Stack, holder: Holder) -> None:
    """The same call is accepted with another query, and with another header: docs/threat-model.md warns of that."""
    assert product_answers(target, header_lines(holder, holder.proof()), f"{PATH}?limit=1").status == 200
    lines = [*header_lines(holder, holder.proof()), "Accept-Language: en"]
    assert product_answers(target, lines).status == 200


def test_a_captured_call_that_never_arrived_is_accepted_once(captured: Captured) -> None:
    """It is accepted for the call that it was made for, and for no other."""
    assert captured.sent_to(path="/products/kettle") == "proof_invalid"
    assert captured.sent_to() == "accepted"


def test_the_host_header_has_no_effect(target: Stack, holder: Holder) -> None:
    """The URL of a proof is compared with the configured one, whatever host the request names."""
    wrong = header_lines(holder, holder.proof(htu=f"http://evil.example{PATH}"))
    for line in "X-Forwarded-Host: evil.example", "Forwarded: host=evil.example;proto=http":
        assert str(product_answers(target, [*wrong, line])) == "proof_invalid"
    assert str(product_answers(target, wrong, host=b"evil.example")) == "proof_invalid"
    assert str(product_answers(target, header_lines(holder, holder.proof()), host=b"evil.example")) == "accepted"
