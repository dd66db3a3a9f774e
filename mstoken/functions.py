"""The adapter for Firebase functions, whose requests are Flask's: functions that are called, and the token service.

delivery = Callee("delivery")

@https_fn.on_request()
@delivery.allow(users=True, services={"billing"})
def estimate(request: Request, caller: Caller) -> Response: ...
"""

import json
from collections.abc import Callable, Collection, Coroutine
from functools import wraps
from pathlib import Path
from typing import Any, Generic, Protocol, TypeAlias, TypeVar
from urllib.parse import quote

from flask import Request, Response

from mstoken.background import Background
from mstoken.callee.callers import Admission, Call, Caller
from mstoken.callee.verifier import TokenVerifier
from mstoken.claims import service_name
from mstoken.errors import Refusal
from mstoken.issuer.policy import Policy
from mstoken.issuer.service import TokenService
from mstoken.per_process import PerProcess
from mstoken.problem import PROBLEM_MEDIA_TYPE, Problem, problem_details, problem_headers
from mstoken.wire import PROOF_HEADER, SERVICE_TOKEN_HEADER

_PATH = "/:@!$&'()*+,;=~"
"""What stands in a path without an escape (RFC 3986, section 3.3)."""

T = TypeVar("T")
Function: TypeAlias = Callable[[Request], Response]


class Callee:
    """The functions that make up a service, `service`: its callers' tokens have that audience.

    They verify as `TokenVerifier` does, with its settings. `MSTOKEN_BASE_URL` is what their URLs have in common, such
    as https://us-central1-demo-shop.cloudfunctions.net; what follows is the function's name.
    """

    def __init__(self, service: str, make_verifier: Callable[[], TokenVerifier] | None = None) -> None:
        """`make_verifier` stands in for a verifier with settings from the environment."""
        self._service = service_name(service)
        self._verifier = _InBackground(make_verifier or (lambda: TokenVerifier(service)), f"mstoken {service}")

    def allow(
        self, *, users: bool | Collection[str] = False, services: Collection[str] = (), proof: bool = False
    ) -> Callable[[Callable[[Request, Caller], Response]], Function]:
        """A decorator for a function of a request and its verified `Caller`, the caller's token or proof spent.

        Arguments as those of `mstoken.fastapi.allow`. A call that is refused is answered with problem details, and the
        function is not run. A `Problem` that the function raises is answered in the same way. Raises ValueError, when
        the function is made, where nobody could ever come in.
        """
        admission = Admission.of(users, services, proof=proof)

        def decorate(function: Callable[[Request, Caller], Response]) -> Function:
            @wraps(function)
            def answer(request: Request) -> Response:
                call = _call(request, function.__name__)
                try:
                    caller = self._verifier.run(lambda verifier: verifier.authorize(admission, call))
                    return function(request, caller)
                except Problem as problem:
                    return _problem_response(problem, self._service)

            return answer

        return decorate


class TokenEndpoint:
    """The token service, as a function: POST with a `TokenRequest`, and an `Issued` for answer."""

    def __init__(self, policy_file: Path, make_service: Callable[[Policy], TokenService] = TokenService) -> None:
        """`make_service` stands in for a token service with settings from the environment.

        Raises `PolicyError` where the policy is wrong: firebase-tools imports functions before it deploys them, so such
        a policy is never deployed.
        """
        policy = Policy.load(policy_file)
        self._service = _InBackground(lambda: make_service(policy), "mstoken token service")

    def __call__(self, request: Request) -> Response:
        """The answer to one request."""
        if request.method != "POST":
            return Response(status=405, headers={"Allow": "POST"})
        authorizations, body = _header_lines(request, "Authorization"), request.get_data()
        try:
            issued = self._service.run(lambda service: service.issue(authorizations, body))
        except Refusal as refusal:
            return _problem_response(refusal, "token")
        return Response(issued.model_dump_json(), mimetype="application/json", headers={"Cache-Control": "no-store"})


class _InEventLoop(Protocol):
    async def open(self) -> None: ...


O = TypeVar("O", bound=_InEventLoop)  # noqa: E741 - what is opened


class _InBackground(Generic[O]):
    """An object that lives in a background event loop, and serves all threads of a process.

    Each process makes and opens it when it first needs it: firebase-tools imports functions without any settings, and
    gunicorn forks after the import.
    """

    def __init__(self, make: Callable[[], O], name: str) -> None:
        self._make = make
        self._name = name
        self._opened = PerProcess(self._open)

    def run(self, work: Callable[[O], Coroutine[Any, Any, T]]) -> T:
        """Run `work` on the object in the background loop, and return its result."""
        background, opened = self._opened.get()
        return background.submit(work(opened)).result()

    def _open(self) -> tuple[Background, O]:
        made = self._make()
        background = Background(self._name)
        background.submit(made.open()).result()
        return background, made


def _call(request: Request, function: str) -> Call:
    # As it was sent, with its escapes; gunicorn and werkzeug each have a name for it.
    uri = request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI") or quote(request.path, safe=_PATH)
    path = str(uri).partition("?")[0]
    return Call(
        method=request.method,
        # The platform takes the function's name off.
        path=f"/{function}" + ("" if path == "/" else path),
        service_tokens=_header_lines(request, SERVICE_TOKEN_HEADER),
        proofs=_header_lines(request, PROOF_HEADER),
        authorizations=_header_lines(request, "Authorization"),
    )


def _header_lines(request: Request, name: str) -> list[str]:
    """The header's lines. WSGI joins several with a comma, which is in none of these values: so they count as two."""
    value = request.environ.get(f"HTTP_{name.upper().replace('-', '_')}")
    return [] if value is None else str(value).split(",")


def _problem_response(problem: Problem, realm: str) -> Response:
    """Return the answer to a request that failed with `problem`, as problem details of the service `realm`."""
    headers = problem_headers(problem, realm)
    return Response(json.dumps(problem_details(problem)), problem.status, headers, mimetype=PROBLEM_MEDIA_TYPE)
