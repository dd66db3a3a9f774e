"""The known attacks with calls that were recorded, and calls of others than Billing, with the code of the refusal.

The credentials are real: `Victims` sign in as the services and users do. docs/threat-model.md has the same table. A
test compares the two.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from emulator.attacks.wire import RawRequest
from mstoken.wire import Mode

RECORDED_PATH = "/products"


@dataclass(frozen=True)
class RecordedCall:
    """A call that Billing was about to send to Product: its token and, in proof mode, its proof."""

    token: str
    proof: str | None

    def lines(self) -> list[bytes]:
        """Return the header lines with its credentials."""
        proof = [] if self.proof is None else [f"DPoP: {self.proof}".encode()]
        return [f"X-MS-TOKEN: {self.token}".encode(), *proof]

    def request(self, path: str = RECORDED_PATH, method: str = "GET") -> RawRequest:
        """Return the call as Billing made it, or with its credentials for another path or method."""
        return RawRequest(self.lines(), path.encode(), method.encode())


class Victims(Protocol):
    """Whose credentials an attacker may have. Every method signs in, and may raise an error of that."""

    def billing_call(self, mode: Mode) -> RecordedCall:
        """Return a call of Billing to GET /products of Product."""
        ...

    def user_token(self) -> str:
        """Return the ID token of a customer who logged in."""
        ...

    def token_of(self, service: str) -> str:
        """Return a fresh token of a service for Product."""
        ...

    def disabled_token(self) -> str:
        """Return a fresh token for Product of a service that was disabled after the sign-in."""
        ...


@dataclass(frozen=True)
class Prepared:
    """What an attack sends to the service `target`. Each of `before` must be accepted, and comes first."""

    request: RawRequest
    before: Sequence[RawRequest] = ()
    target: str = "product"


@dataclass(frozen=True)
class Recorded:
    """An attack with real credentials, and the code of the refusal."""

    name: str
    code: str
    prepare: Callable[[Victims], Prepared]


def _again(mode: Mode) -> Callable[[Victims], Prepared]:
    def prepare(victims: Victims) -> Prepared:
        request = victims.billing_call(mode).request()
        return Prepared(request, before=[request])

    return prepare


def _elsewhere(mode: Mode, path: str, method: str = "GET", target: str = "product") -> Callable[[Victims], Prepared]:
    return lambda victims: Prepared(victims.billing_call(mode).request(path, method), target=target)


def _without_proof(victims: Victims) -> Prepared:
    return Prepared(RecordedCall(victims.billing_call("proof").token, None).request())


def _with_the_proof_of_another_call(victims: Victims) -> Prepared:
    """A spent proof, and an unspent token: the token of this hour, with a proof that was used."""
    call = victims.billing_call("proof")
    fresh = victims.billing_call("fresh")
    return Prepared(RecordedCall(fresh.token, call.proof).request(), before=[call.request()])


def _token(token: Callable[[Victims], str]) -> Callable[[Victims], Prepared]:
    return lambda victims: Prepared(RecordedCall(token(victims), None).request())


def _user_as_service(victims: Victims) -> Prepared:
    line = f"Authorization: Bearer {victims.user_token()}".encode()
    return Prepared(RawRequest([line], b"/reservations", b"POST"))


RECORDED = [
    Recorded("a fresh call, sent a second time", "token_replayed", _again("fresh")),
    Recorded(
        "a fresh call, sent to another service",
        "token_wrong_audience",
        _elsewhere("fresh", "/users/maya", target="user"),
    ),
    Recorded("a call with a proof, sent a second time", "proof_replayed", _again("proof")),
    Recorded("a call with a proof, sent to another path", "proof_invalid", _elsewhere("proof", "/products/kettle")),
    Recorded(
        "a call with a proof, sent with another method", "proof_invalid", _elsewhere("proof", RECORDED_PATH, "POST")
    ),
    Recorded(
        "a call with a proof, sent to another service",
        "token_wrong_audience",
        _elsewhere("proof", "/users/maya", target="user"),
    ),
    Recorded("a stolen bound token, without its key", "proof_missing", _without_proof),
    Recorded("a stolen proof, beside a fresh token", "proof_invalid", _with_the_proof_of_another_call),
    Recorded("a user's token as a service token", "token_not_service", _token(lambda victims: victims.user_token())),
    Recorded("a user's token for a route of services", "token_missing", _user_as_service),
    Recorded("no token at all", "token_missing", lambda victims: Prepared(RawRequest([]))),
    Recorded(
        "a service that the route does not admit",
        "caller_not_allowed",
        _token(lambda victims: victims.token_of("delivery")),
    ),
    Recorded("a service that was disabled", "identity_disabled", _token(lambda victims: victims.disabled_token())),
]
