"""Calls that Product must refuse: a call that is sent twice, and calls with forged or stolen parts."""

from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from emulator.run.errors import Unexpected
from emulator.run.shop_client import ShopClient, anyone
from emulator.run.stack import Stack
from mstoken import ServiceIdentity
from mstoken.emulator.keys import Key
from mstoken.errors import SignInError
from mstoken.strict_jwt import base64url
from mstoken.wire import PROOF_HEADER, SERVICE_TOKEN_HEADER

PATH = "/products?limit=1"
OTHER_PATH = "/products/another"
SERVED = "served"
"""Stands for a code if the call was not refused."""


@dataclass(frozen=True)
class CallResult:
    """What was sent to Product, in words, and the status and code of the answer."""

    sent: str
    status: int
    code: str


def try_calls(stack: Stack) -> list[CallResult]:
    """Sign in as Billing, call Product as Billing does, and then call it as an attacker would. Return the results.

    Raises Unexpected unless the first call is served and each of the others is refused with the right code.
    """
    with anyone(stack) as client, ServiceIdentity("billing", stack.settings) as billing:
        try:
            good, unused = (_headers(billing, stack.base_url("product")) for _ in range(2))
        except SignInError as error:
            raise Unexpected(f"Signing in as svc:billing failed: {error}") from error
        forged = unused | {SERVICE_TOKEN_HEADER: _forged(unused[SERVICE_TOKEN_HEADER])}
        replayed = "token_replayed" if stack.mode == "fresh" else "proof_replayed"
        results = [
            _send(client, f"a call as svc:billing, in {stack.mode} mode", PATH, good, 200, SERVED),
            _send(client, "the same call a second time", PATH, good, 401, replayed),
            _send(client, "a token with a forged signature", PATH, forged, 401, "token_untrusted"),
        ]
        if stack.mode == "proof":
            stolen = {SERVICE_TOKEN_HEADER: unused[SERVICE_TOKEN_HEADER]}
            results += [
                _send(client, "a recorded call, sent to another path", OTHER_PATH, unused, 401, "proof_invalid"),
                _send(client, "its token without the proof", PATH, stolen, 401, "proof_missing"),
            ]
        return results


def _headers(billing: ServiceIdentity, product_url: str) -> dict[str, str]:
    """Return the headers that Billing would send with its next call of Product."""
    request = next(billing.to("product").sync_auth_flow(httpx.Request("GET", product_url + PATH)))
    names = (SERVICE_TOKEN_HEADER, PROOF_HEADER)
    return {name: request.headers[name] for name in names if name in request.headers}


def _send(client: ShopClient, sent: str, path: str, headers: Mapping[str, str], status: int, code: str) -> CallResult:
    """Send a call, and check the status and the code of its answer. `sent` describes the call. Raises Unexpected."""
    answer = client.call("GET", "product", path, status, headers=dict(headers))
    actual_code = answer.get("code", SERVED)
    if actual_code != code:
        raise Unexpected(f"Product answered {sent} with {actual_code} instead of {code}.")
    return CallResult(sent, status, code)


def _forged(token: str) -> str:
    """Return the token with a signature by a key of our own. Its header still names the published key."""
    signing_input = token.rpartition(".")[0]
    return f"{signing_input}.{base64url(Key().sign(signing_input.encode()))}"
