"""The adapter for Flask: the contract of adapters, blueprints, classes of views, threads."""

from collections.abc import Iterator
from functools import wraps
from typing import Any

import flask
import httpx
import pytest
from flask import Blueprint, Flask
from flask.views import MethodView
from typing_extensions import override
from werkzeug.datastructures import Headers

from mstoken import Caller, TokenVerifier
from mstoken.errors import NotProtected, TokenMissing
from mstoken.flask import allow, protect
from mstoken.testing import FakeFirebase, FirebaseProject
from tests.mstoken.adapter_contract import ADMISSIONS, BASE_URL, AdapterContract, Body, CountingStore, Lines, Site


def send(
    app: Flask, method: str, path: str, lines: Lines = (), body: Body | None = None, **environ: Any
) -> httpx.Response:
    """Return the answer of the app to one request. Errors of the app are raised."""
    app.testing = True
    content: dict[str, Any] = {} if body is None else {"input_stream": body, "content_length": len(body.content)}
    answer = app.test_client().open(path, method=method, headers=Headers(list(lines)), **content, **environ)
    return httpx.Response(answer.status_code, headers=list(answer.headers), content=answer.get_data())


class FlaskSite(Site):
    """An app of Flask."""

    def __init__(self, verifier: TokenVerifier) -> None:
        super().__init__(verifier)
        self._app = Flask(__name__)
        protect(self._app, verifier)

        self._app.add_url_rule("/open", "open", lambda: "open")

        @self._app.before_request
        def read_the_body() -> None:
            flask.request.get_data()

        for name, admissions in ADMISSIONS.items():
            view = self._view(name)
            for admission in reversed(admissions):
                view = allow(**admission)(view)
            self._app.add_url_rule(f"/{name}", name, view, methods=["GET", "POST"])

    def _view(self, name: str) -> Any:
        def view(caller: Caller) -> str:
            flask.request.get_data()
            if name == "broken":
                flask.abort(404)
            return self.serve(name, caller)

        return view

    @property
    @override
    def protected(self) -> Flask:
        return self._app

    @override
    def send(self, method: str, path: str, lines: Lines = (), body: Body | None = None) -> httpx.Response:
        return send(self._app, method, path, lines, body)


class TestFlask(AdapterContract):
    """An app of Flask keeps the promises of every adapter."""

    site_class = FlaskSite
    options_status = 200


@pytest.fixture
def firebase() -> FakeFirebase:
    return FakeFirebase(base_url=BASE_URL)


@pytest.fixture
def app(firebase: FakeFirebase) -> Iterator[Flask]:
    app = Flask(__name__)
    protect(app, firebase.verifier("product"))
    yield app
    for verifier in app.extensions["mstoken"].values():
        verifier.close()


def billing(firebase: FakeFirebase, to: str = "product") -> Lines:
    return list(firebase.service_headers("billing", to=to).items())


class TestBlueprints:
    """A blueprint may have a verifier of its own, or that of its app."""

    def blueprint(self, name: str) -> Blueprint:
        blueprint = Blueprint(name, __name__, url_prefix=f"/{name}")

        @blueprint.get("/who")
        @allow(services={"billing"})
        def who(caller: Caller) -> str:
            return str(caller)

        return blueprint

    def test_a_blueprint_has_the_verifier_of_its_app(self, app: Flask, firebase: FakeFirebase) -> None:
        """Its views need no set-up."""
        app.register_blueprint(self.blueprint("products"))
        assert send(app, "GET", "/products/who", billing(firebase)).text == "svc:billing"
        assert send(app, "GET", "/products/who").json()["code"] == "token_missing"

    @pytest.mark.parametrize("of_app", [True, False])
    def test_a_blueprint_with_a_verifier_of_its_own(self, firebase: FakeFirebase, of_app: bool) -> None:
        """It is another service than the app, and needs no verifier of the app."""
        app, blueprint = Flask(__name__), self.blueprint("users")
        protect(blueprint, firebase.verifier("user"))
        if of_app:
            protect(app, firebase.verifier("product"))
        app.register_blueprint(blueprint)
        assert send(app, "GET", "/users/who", billing(firebase, "user")).text == "svc:billing"
        refused = send(app, "GET", "/users/who", billing(firebase, "product"))
        assert refused.json()["code"] == "token_wrong_audience"
        assert refused.headers["WWW-Authenticate"].startswith('MsToken realm="user"')

    def test_the_innermost_blueprint_counts(self, app: Flask, firebase: FakeFirebase) -> None:
        """A blueprint in another one may be a service of its own."""
        outer, inner = self.blueprint("outer"), self.blueprint("inner")
        protect(outer, firebase.verifier("user"))
        protect(inner, firebase.verifier("delivery"))
        outer.register_blueprint(inner)
        app.register_blueprint(outer)
        assert send(app, "GET", "/outer/inner/who", billing(firebase, "delivery")).text == "svc:billing"
        assert send(app, "GET", "/outer/who", billing(firebase, "user")).text == "svc:billing"

    def test_the_body_is_not_read_before_the_call_is_verified(self, firebase: FakeFirebase) -> None:
        """The functions that the app has for each request run afterwards, also if only the blueprint is protected."""
        app, blueprint, body = Flask(__name__), self.blueprint("users"), Body()
        protect(blueprint, firebase.verifier("user"))
        app.register_blueprint(blueprint)

        @app.before_request
        def read_the_body() -> None:
            flask.request.get_data()

        assert send(app, "GET", "/users/who", body=body).json()["code"] == "token_missing"
        assert not body.was_read
        assert send(app, "GET", "/users/who", billing(firebase, "user"), body).is_success
        assert body.was_read

    def test_the_plugin_takes_an_app_with_blueprints(self, firebase: FakeFirebase) -> None:
        """The verifiers of the app and of its blueprints are replaced, each for its own service."""
        app, blueprint = Flask(__name__), self.blueprint("users")
        protect(app, firebase.verifier("product"))
        protect(blueprint, firebase.verifier("user"))
        app.register_blueprint(blueprint)
        app.register_blueprint(self.blueprint("products"))
        project = FirebaseProject()
        project.protect(app)
        for path, service in (("/users/who", "user"), ("/products/who", "product")):
            lines = project.as_service("billing", to=service).lines("GET", path)
            assert send(app, "GET", path, lines).text == "svc:billing"
        project.release()
        assert send(app, "GET", "/users/who", billing(firebase, "user")).text == "svc:billing"


class TestSetUp:
    """Mistakes are found early, and never open a route."""

    def test_an_app_without_protect(self) -> None:
        """The error says what to call."""
        app = Flask(__name__)
        app.add_url_rule("/", view_func=allow(users=True)(lambda caller: "open"))
        with pytest.raises(NotProtected, match=r"protect\(app, TokenVerifier\(.*mstoken\.flask"):
            send(app, "GET", "/")

    def test_the_decorators_in_the_wrong_order(self, app: Flask, firebase: FakeFirebase) -> None:
        """A view that Flask calls without its protection lacks its caller, so it answers nothing."""

        @allow(users=True)
        @app.get("/")
        def view(caller: Caller) -> str:
            return "open"

        with pytest.raises(TypeError, match="caller"):
            send(app, "GET", "/")

    def test_a_view_that_admits_no_caller(self) -> None:
        """The error is raised when the view is decorated."""
        with pytest.raises(ValueError, match="refuse every caller"):
            allow()
        with pytest.raises(TypeError, match="has no parameter 'caller'"):
            allow(users=True)(lambda: "open")

    def test_protect_is_too_late_when_the_app_serves(self, firebase: FakeFirebase) -> None:
        """Flask says so."""
        app = Flask(__name__)
        send(app, "GET", "/")
        with pytest.raises(AssertionError, match="can no longer be called"):
            protect(app, firebase.verifier("product"))

    def test_a_second_call_of_protect_replaces_the_verifier(self, app: Flask, firebase: FakeFirebase) -> None:
        """Only the second one is used."""
        protect(app, firebase.verifier("user"))
        app.add_url_rule("/", view_func=allow(services={"billing"})(lambda caller: str(caller)))
        assert send(app, "GET", "/", billing(firebase, "user")).text == "svc:billing"
        assert send(app, "GET", "/", billing(firebase, "product")).json()["code"] == "token_wrong_audience"

    def test_settings_are_read_at_the_first_call(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A module may make its app without any settings, as a command line does that lists the routes."""
        monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
        app = Flask(__name__)
        protect(app, TokenVerifier("product"))
        app.add_url_rule("/open", view_func=lambda: "open")
        assert send(app, "GET", "/open").text == "open"


class Products(MethodView):
    """Products, for different callers by method."""

    @allow(users=True)
    def get(self, caller: Caller) -> str:
        return f"read by {caller}"

    @allow(services={"billing"})
    def post(self, caller: Caller) -> str:
        flask.request.get_data()
        return f"written by {caller}"


class Internal(MethodView):
    """For Billing only, whatever the method is."""

    decorators = [allow(services={"billing"})]  # noqa: RUF012 - as Flask documents it

    def get(self, caller: Caller) -> str:
        return str(caller)


def test_classes_of_views(app: Flask, firebase: FakeFirebase) -> None:
    """Methods and whole classes are protected, and before the functions run that the app has for each request."""
    bodies: list[bytes] = []
    app.before_request(lambda: bodies.append(flask.request.get_data()))
    app.add_url_rule("/products", view_func=Products.as_view("products"))
    app.add_url_rule("/internal", view_func=Internal.as_view("internal"))
    user = list(firebase.user_headers("anna").items())
    assert send(app, "GET", "/products", user).text == "read by user:anna"
    assert send(app, "HEAD", "/products", user).status_code == 200
    assert send(app, "POST", "/products", billing(firebase)).text == "written by svc:billing"
    assert send(app, "GET", "/internal", billing(firebase)).text == "svc:billing"
    assert len(bodies) == 4
    assert send(app, "HEAD", "/products").status_code == 401
    assert send(app, "POST", "/products", user).status_code == 401
    assert send(app, "GET", "/internal", user).status_code == 401
    assert len(bodies) == 4


class Ledger(MethodView):
    """For Billing and Delivery; writing is for Billing only."""

    decorators = [allow(services={"billing", "delivery"})]  # noqa: RUF012 - as Flask documents it

    @allow(services={"billing"})
    def post(self, caller: Caller) -> str:
        return str(caller)


def undecorated(view: Any) -> Any:
    """Return a view that hides what is noted on the one in it, as a decorator without `functools.wraps` does."""
    return lambda **arguments: view(**arguments)


@pytest.mark.parametrize(
    "view",
    [
        Ledger.as_view("ledger"),
        undecorated(allow(services={"billing", "delivery"})(allow(services={"billing"})(lambda caller: str(caller)))),
    ],
    ids=["a class and its method", "a decorator that hides them"],
)
def test_what_several_decorators_refuse_spends_nothing(firebase: FakeFirebase, view: Any) -> None:
    """All of them must admit the caller, wherever they stand."""
    app, store = Flask(__name__), CountingStore()
    protect(app, firebase.verifier("product", replay=store))
    app.add_url_rule("/", "view", view, methods=["POST"])
    delivery = list(firebase.service_headers("delivery", to="product").items())
    assert send(app, "POST", "/", delivery).json()["code"] == "caller_not_allowed"
    assert store.spent == 0
    assert send(app, "POST", "/", billing(firebase)).text == "svc:billing"


def test_views_keep_their_arguments(app: Flask, firebase: FakeFirebase) -> None:
    """The parts of the path are passed on, beside the caller."""

    @app.get("/products/<int:product_id>")
    @allow(services={"billing"})
    def product(product_id: int, caller: Caller) -> dict[str, Any]:
        return {"id": product_id, "caller": str(caller)}

    assert send(app, "GET", "/products/7", billing(firebase)).json() == {"id": 7, "caller": "svc:billing"}


def test_async_views(app: Flask, firebase: FakeFirebase) -> None:
    """Flask runs them, as it does without us."""

    @app.get("/")
    @allow(services={"billing"})
    async def view(caller: Caller) -> str:
        return str(caller)

    assert send(app, "GET", "/", billing(firebase)).text == "svc:billing"
    assert send(app, "GET", "/").json()["code"] == "token_missing"


def test_a_view_that_answers_options_itself(app: Flask, firebase: FakeFirebase) -> None:
    """It is protected as for every other method."""
    app.add_url_rule("/", "view", allow(services={"billing"})(lambda caller: str(caller)), methods=["OPTIONS"])
    assert send(app, "OPTIONS", "/").json()["code"] == "token_missing"
    assert send(app, "OPTIONS", "/", billing(firebase)).text == "svc:billing"


def test_another_decorator_above(app: Flask, firebase: FakeFirebase) -> None:
    """A cache above `allow` does not answer callers that are not admitted."""

    def cached(view: Any) -> Any:
        @wraps(view)
        def answer(**arguments: Any) -> str:
            return "from the cache"

        return answer

    app.add_url_rule("/", view_func=cached(allow(services={"billing"})(lambda caller: "new")))
    assert send(app, "GET", "/").json()["code"] == "token_missing"
    assert send(app, "GET", "/", billing(firebase)).text == "from the cache"


def test_a_handler_of_the_application_takes_precedence(app: Flask, firebase: FakeFirebase) -> None:
    """An application may answer a kind of problem itself."""
    app.register_error_handler(TokenMissing, lambda error: ("please log in", 401))
    app.add_url_rule("/", view_func=allow(services={"billing"})(lambda caller: "in"))
    assert send(app, "GET", "/").text == "please log in"
