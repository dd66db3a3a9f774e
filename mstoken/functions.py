"""The adapter for Firebase functions, whose requests are those of Flask. The token service is such a function too.

delivery = Callee(TokenVerifier("delivery"))

@https_fn.on_request()
@delivery.allow(users=True, services={"billing"})
def estimate(request: Request, caller: Caller) -> Response: ...
"""

from collections.abc import Callable, Collection
from functools import wraps
from pathlib import Path
from typing import Any, TypeAlias

from mstoken.callee.callers import Admission
from mstoken.callee.views import CALLEE, CALLER, admission_of, note_admission
from mstoken.errors import Refusal
from mstoken.extras import needed_by
from mstoken.in_background import InBackground
from mstoken.issuer.policy import Policy
from mstoken.problem import Problem, problem_answer

with needed_by("mstoken.functions", "flask"):
    from flask import Request, Response

    from mstoken.flask import problem_response, with_headers
    from mstoken.issuer.service import TokenService
    from mstoken.wsgi import WsgiVerifier, header_lines

Function: TypeAlias = Callable[[Request], Response]


class Callee(WsgiVerifier):
    """The functions that make up a service, the audience of its callers' tokens.

    Calls are verified by the `TokenVerifier` and its settings. `MSTOKEN_BASE_URL` is the part of the URLs before the
    name of the function, such as https://us-central1-demo-shop.cloudfunctions.net.
    """

    def allow(
        self,
        *,
        users: bool | Collection[str] = False,
        services: Collection[str] = (),
        proof: bool = False,
        acting_for_user: bool = False,
    ) -> Callable[[Callable[..., Response]], Function]:
        """Return a decorator for a function that gets a request, and its verified `Caller` in the parameter `caller`.

        The parameters are those of `mstoken.fastapi.allow`. A refused call is answered with problem details, and the
        function is not called. A `Problem` that the function raises is answered in the same way. Raises ValueError
        when the function is decorated, if no caller could ever be admitted, and TypeError if the function does not take
        its caller.
        """
        admission = Admission.of(users, services, proof=proof, acting_for_user=acting_for_user)

        def decorate(function: Callable[..., Response]) -> Function:
            inner = admission_of(function)
            also = () if inner is None else (inner,)
            # The platform removes the name of the function from the path.
            prefix = f"/{getattr(function, '__name__', '')}"

            @wraps(function)
            def answer(request: Request, **kwargs: Any) -> Response:
                try:
                    kwargs[CALLER] = self.caller(request.environ, admission, also, prefix=prefix)
                    response = function(request, **kwargs)
                except Problem as problem:
                    response = problem_response(problem, self)
                return with_headers(response, self, request.environ)

            note_admission(answer, function, admission)
            setattr(answer, CALLEE, self)
            return answer

        return decorate


class TokenEndpoint:
    """The token service as a function: it answers a POST with a `TokenRequest` by an `Issued`."""

    def __init__(self, policy_file: Path | str, make_service: Callable[[Policy], TokenService] = TokenService) -> None:
        """`make_service` returns the token service. By default its settings are read from the environment.

        Raises `PolicyError` if the policy is wrong. firebase-tools imports functions before it deploys them, so a wrong
        policy is never deployed.
        """
        policy = Policy.load(Path(policy_file))
        self._service = InBackground(lambda: make_service(policy), "mstoken token service")

    def __call__(self, request: Request) -> Response:
        """Answer one request."""
        if request.method != "POST":
            return Response(status=405, headers={"Allow": "POST"})
        authorizations, body = header_lines(request.environ, "Authorization"), request.get_data()
        try:
            issued = self._service.run(lambda service: service.issue(authorizations, body))
        except Refusal as refusal:
            status, fields, answer = problem_answer(refusal, "token")
            return Response(answer, status, fields)
        return Response(issued.model_dump_json(), mimetype="application/json", headers={"Cache-Control": "no-store"})

    def close(self) -> None:
        """End the background work of this process. The next request begins it anew."""
        self._service.close()
