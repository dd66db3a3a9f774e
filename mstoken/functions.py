"""The adapter for Firebase functions, whose requests are those of Flask. The token service is such a function too.

delivery = Callee("delivery")

@https_fn.on_request()
@delivery.allow(users=True, services={"billing"})
def estimate(request: Request, caller: Caller) -> Response: ...
"""

import json
from collections.abc import Callable, Collection, Coroutine
from functools import wraps
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from flask import Request, Response

from mstoken import uri
from mstoken.background import Background
from mstoken.callee.callers import Admission, Call, Caller, ServiceCaller
from mstoken.callee.verifier import TokenVerifier
from mstoken.claims import service_name
from mstoken.errors import Refusal
from mstoken.issuer.policy import Policy
from mstoken.issuer.service import TokenService
from mstoken.per_process import PerProcess
from mstoken.problem import PROBLEM_MEDIA_TYPE, Problem, problem_details, problem_headers
from mstoken.wire import NONCE_HEADER, PROOF_HEADER, SERVICE_TOKEN_HEADER

T = TypeVar("T")
Resource = TypeVar("Resource", bound=TokenVerifier | TokenService)
Function: TypeAlias = Callable[[Request], Response]


class Callee:
    """The functions that make up the service `service`, which is the audience of its callers' tokens.

    Calls are verified by a `TokenVerifier` and its settings. `MSTOKEN_BASE_URL` is the part of the URLs before the
    name of the function, such as https://us-central1-demo-shop.cloudfunctions.net.
    """

    def __init__(self, service: str, make_verifier: Callable[[], TokenVerifier] | None = None) -> None:
        """`make_verifier` returns the verifier. By default its settings are read from the environment."""
        self._service = service_name(service)
        self._verifier = _InBackground(make_verifier or (lambda: TokenVerifier(service)), f"mstoken {service}")

    def allow(
        self,
        *,
        users: bool | Collection[str] = False,
        services: Collection[str] = (),
        proof: bool = False,
        acting_for_user: bool = False,
    ) -> Callable[[Callable[[Request, Caller], Response]], Function]:
        """Return a decorator for a function that gets a request and its verified `Caller`.

        The parameters are those of `mstoken.fastapi.allow`. A refused call is answered with problem details, and the
        function is not called. A `Problem` that the function raises is answered in the same way. Raises ValueError
        when the function is decorated, if no caller could ever be admitted.
        """
        admission = Admission.of(users, services, proof=proof, acting_for_user=acting_for_user)

        def decorate(function: Callable[[Request, Caller], Response]) -> Function:
            @wraps(function)
            def answer(request: Request) -> Response:
                call = _call(request, function.__name__)
                try:
                    caller = self._verifier.run(lambda verifier: verifier.authorize(admission, call))
                    return _with_nonce(function(request, caller), caller)
                except Problem as problem:
                    return _problem_response(problem, self._service)

            return answer

        return decorate


class TokenEndpoint:
    """The token service as a function: it answers a POST with a `TokenRequest` by an `Issued`."""

    def __init__(self, policy_file: Path, make_service: Callable[[Policy], TokenService] = TokenService) -> None:
        """`make_service` returns the token service. By default its settings are read from the environment.

        Raises `PolicyError` if the policy is wrong. firebase-tools imports functions before it deploys them, so a wrong
        policy is never deployed.
        """
        policy = Policy.load(policy_file)
        self._service = _InBackground(lambda: make_service(policy), "mstoken token service")

    def __call__(self, request: Request) -> Response:
        """Answer one request."""
        if request.method != "POST":
            return Response(status=405, headers={"Allow": "POST"})
        authorizations, body = _header_lines(request, "Authorization"), request.get_data()
        try:
            issued = self._service.run(lambda service: service.issue(authorizations, body))
        except Refusal as refusal:
            return _problem_response(refusal, "token")
        return Response(issued.model_dump_json(), mimetype="application/json", headers={"Cache-Control": "no-store"})

    def close(self) -> None:
        """End the background work of this process. The next request begins it anew."""
        self._service.close()


class _InBackground(Generic[Resource]):
    """A verifier or token service that runs in a background event loop, for all threads of a process.

    Each process makes and opens it at its first use: firebase-tools imports functions without any settings, and
    gunicorn forks after the import.
    """

    def __init__(self, make: Callable[[], Resource], name: str) -> None:
        self._make = make
        self._name = name
        self._opened = PerProcess(self._open)

    def run(self, work: Callable[[Resource], Coroutine[Any, Any, T]]) -> T:
        """Run `work` on the resource in the background loop, and return its result."""
        background, resource = self._opened.get()
        return background.submit(work(resource)).result()

    def close(self) -> None:
        """Close the resource of this process, if it was made, and end its background loop."""
        if opened := self._opened.pop():
            background, resource = opened
            background.close(resource.aclose())

    def _open(self) -> tuple[Background, Resource]:
        resource = self._make()
        background = Background(self._name)
        try:
            background.submit(resource.open()).result()
        except BaseException:
            background.close(resource.aclose())
            raise
        return background, resource


def _call(request: Request, function: str) -> Call:
    # The path as it was sent, with its escapes. gunicorn and werkzeug have different names for it.
    sent = request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI") or uri.escaped(request.path)
    path = str(sent).partition("?")[0]
    return Call(
        method=request.method,
        # The platform removes the name of the function from the path.
        path=f"/{function}" + ("" if path == "/" else path),
        service_tokens=_header_lines(request, SERVICE_TOKEN_HEADER),
        proofs=_header_lines(request, PROOF_HEADER),
        authorizations=_header_lines(request, "Authorization"),
    )


def _header_lines(request: Request, name: str) -> list[str]:
    """Return the values of the header lines `name`.

    WSGI joins several lines with a comma. Valid values of these headers contain no comma, so a comma separates lines.
    """
    value = request.environ.get(f"HTTP_{name.upper().replace('-', '_')}")
    return [] if value is None else str(value).split(",")


def _with_nonce(response: Response, caller: Caller) -> Response:
    """Return the answer with the next nonce, if the caller should use another one (RFC 9449, section 8.2)."""
    if isinstance(caller, ServiceCaller) and caller.next_nonce is not None:
        response.headers.setdefault(NONCE_HEADER, caller.next_nonce)
    return response


def _problem_response(problem: Problem, realm: str) -> Response:
    """Return the answer to a request that failed with `problem`, as problem details of the service `realm`."""
    headers = problem_headers(problem, realm)
    return Response(json.dumps(problem_details(problem)), problem.status, headers, mimetype=PROBLEM_MEDIA_TYPE)
