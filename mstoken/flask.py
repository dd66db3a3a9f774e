"""The adapter for Flask. One decorator says who may call a view. Refusals are answered as problem details.

app = Flask(__name__)
protect(app, TokenVerifier("product"))

@app.get("/products")
@allow(users=True, services={"billing"})
def list_products(caller: Caller) -> Response: ...
"""

from collections.abc import Callable, Collection
from functools import wraps
from typing import Any, TypeVar

from mstoken.callee.callers import Admission
from mstoken.callee.views import CALLER, EXTENSION, admission_of, note_admission
from mstoken.errors import NotProtected
from mstoken.extras import needed_by
from mstoken.problem import Problem

with needed_by("mstoken.flask", "flask"):
    from flask import Blueprint, Flask, Response, current_app, request
    from flask.sansio.app import App
    from flask.sansio.blueprints import BlueprintSetupState

    from mstoken.callee.verifier import TokenVerifier
    from mstoken.wsgi import WsgiVerifier

R = TypeVar("R", bound=Response)


def protect(app: Flask | Blueprint, verifier: TokenVerifier) -> None:
    """Use `verifier` for every `allow` in the app or in the blueprint.

    The verifier of the innermost blueprint counts, then that of the app. Each process opens it at its first call. Calls
    are verified before the functions run that are registered with `before_request` after this, or after the blueprint
    is registered.

    Every `Problem` is answered as `application/problem+json`: this library's refusals, and the application's own errors
    that derive from it. A handler that the application registers for a class below `Problem` takes precedence. Call
    this before the app serves; later Flask raises AssertionError. A second call replaces the verifier, for tests.
    """
    holder = WsgiVerifier(verifier)
    if isinstance(app, Blueprint):
        app.record(lambda state: _keep_blueprint(state, holder))
        app.before_app_request(_verify)
    else:
        if not _keep(app, None, holder):
            return
        app.before_request(_verify)
    app.register_error_handler(Problem, _answer)
    app.after_request(_add_headers)


def allow(
    *,
    users: bool | Collection[str] = False,
    services: Collection[str] = (),
    proof: bool = False,
    acting_for_user: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator for a view that gets its verified `Caller` in the parameter `caller`.

    Put it below the decorator that makes the function a view, such as `app.get`. It also decorates the methods of a
    `MethodView`, or stands in its `decorators`, and async views.

    The parameters are those of `mstoken.fastapi.allow`. A call is verified and spent once, before the view runs, so
    before it reads the body. A refused call does not reach the view. Raises ValueError when the view is decorated, if
    no caller could ever be admitted, and TypeError if the view does not take its caller.
    """
    admission = Admission.of(users, services, proof=proof, acting_for_user=acting_for_user)

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        inner = admission_of(view)
        also = () if inner is None else (inner,)

        @wraps(view)
        def answer(*args: Any, **kwargs: Any) -> Any:
            kwargs[CALLER] = _holder().caller(request.environ, admission, also)
            return current_app.ensure_sync(view)(*args, **kwargs)

        note_admission(answer, view, admission)
        return answer

    return decorate


def problem_response(problem: Problem, holder: WsgiVerifier) -> Response:
    """Return the answer to a request that failed with `problem`, as problem details."""
    status, headers, body = holder.answer(problem)
    return Response(body, status, headers)


def with_headers(response: R, holder: WsgiVerifier, environ: dict[str, Any]) -> R:
    """Return the answer with the header fields that it must have, such as the next nonce of its caller."""
    for name, value in holder.headers(environ).items():
        response.headers.setdefault(name, value)
    return response


def _keep(app: App, blueprint: str | None, holder: WsgiVerifier) -> bool:
    """Keep the verifier of an app, or of a blueprint in it. Return False if it has taken the place of another one."""
    holders: dict[str | None, WsgiVerifier] = app.extensions.setdefault(EXTENSION, {})
    if holders.setdefault(blueprint, holder) is not holder:
        holders[blueprint].replace(holder.verifier)
        return False
    return True


def _keep_blueprint(state: BlueprintSetupState, holder: WsgiVerifier) -> None:
    """Keep the verifier of a blueprint under its name in the app, which has those of the blueprints around it."""
    _keep(state.app, f"{state.name_prefix}.{state.name}".lstrip("."), holder)


def _find_holder() -> WsgiVerifier | None:
    holders: dict[str | None, WsgiVerifier] = current_app.extensions.get(EXTENSION, {})
    names = (*request.blueprints, None)
    return next((holders[name] for name in names if name in holders), None)


def _holder() -> WsgiVerifier:
    """Return the verifier that serves this request. Raises `NotProtected` if there is none."""
    holder = _find_holder()
    if holder is None:
        raise NotProtected
    return holder


def _verify() -> None:
    """Verify the call of a view before anything of the app reads the body. Flask itself answers OPTIONS."""
    rule = request.url_rule
    if rule is None or (request.method == "OPTIONS" and getattr(rule, "provide_automatic_options", False)):
        return
    admission = _admission_of(current_app.view_functions[rule.endpoint], request.method)
    if admission is not None:
        _holder().caller(request.environ, admission)


def _admission_of(view: Callable[..., Any], method: str) -> Admission | None:
    """Return the callers that a view admits. Flask calls the method of a `MethodView` that is named as the request's.

    HEAD is answered by `get` if the class has no `head`.
    """
    found = admission_of(view)
    of_class = getattr(view, "view_class", None)
    if of_class is None:
        return found
    names = (method.lower(), "get") if method == "HEAD" else (method.lower(),)
    of_method = next((admission_of(getattr(of_class, name)) for name in names if hasattr(of_class, name)), None)
    if found is None or of_method is None:
        return found or of_method
    return found & of_method


def _answer(problem: Problem) -> Response:
    return problem_response(problem, _holder())


def _add_headers(response: Response) -> Response:
    holder = _find_holder()
    return response if holder is None else with_headers(response, holder, request.environ)
