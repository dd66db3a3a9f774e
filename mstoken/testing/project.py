"""A Firebase project in memory with the apps under test that use it. The fixture `firebase` is one."""

import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol, TypeVar

from mstoken.callee.verification import RequestVerifier
from mstoken.callee.verifier import TokenVerifier
from mstoken.callee.views import CALLEE, EXTENSION
from mstoken.caller.identity import ServiceIdentity
from mstoken.claims import service_name, token_mode
from mstoken.testing.credentials import ServiceCredentials, UserCredentials
from mstoken.testing.fake_firebase import FakeFirebase
from mstoken.wire import Mode

App = TypeVar("App")


class VerifierHolder(Protocol):
    """What has the verifier of an app, and takes another one."""

    @property
    def verifier(self) -> TokenVerifier | None:
        """The verifier."""
        ...

    def replace(self, verifier: TokenVerifier) -> None:
        """Use another verifier from now on."""
        ...


BASE_URL = "http://testserver"
"""The URL that Starlette's and FastAPI's `TestClient` call by default."""


class FirebaseProject(FakeFirebase):
    """A `FakeFirebase` that takes the place of the Firebase of apps, until `release`."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        """The parameters are those of `FakeFirebase`."""
        super().__init__(*args, **settings)
        self._urls: dict[str, str] = {}
        self._undo: list[Callable[[], object]] = []

    def protect(self, app: App, *, base_url: str = BASE_URL, **settings: Any) -> App:
        """Make an app verify its calls with this Firebase, and return the app.

        `app` is an app of FastAPI, Starlette or Flask that was passed to `protect`, a `Callee` or one of its functions,
        or what verifies the calls of another framework (`WsgiVerifier`, `AsgiVerifier`). Every verifier of the app, of
        the apps that are mounted in it, and of its blueprints is replaced. The service stays the same, spent ids are
        kept in memory, and the environment is not read. `settings` are settings of the verifier, by field name, such as
        `require_proof=True`. Proofs are made for `base_url`.

        Raises ValueError if the app has no verifier: then `protect(app, TokenVerifier(...))` was not called.
        """
        holders = [(holder, holder.verifier) for holder in _holders_of(app)]
        if not holders:
            raise ValueError(
                "This app has no verifier, so its routes could not tell who is calling. Call "
                "protect(app, TokenVerifier(...)) of mstoken.fastapi, mstoken.starlette or mstoken.flask where the app "
                "is made. For functions and other frameworks, pass the Callee, the WsgiVerifier or the AsgiVerifier."
            )
        for holder, verifier in holders:
            assert verifier is not None  # noqa: S101 - `_holders_of` returns those that have one
            self._undo.append(partial(holder.replace, verifier))
            self._urls[verifier.audience] = base_url
            holder.replace(self.verifier(verifier.audience, base_url=base_url, **settings))
        return app

    def release(self) -> None:
        """Give the apps the verifiers back that they had before, and the identities their way to sign in."""
        while self._undo:
            self._undo.pop()()
        self._urls.clear()

    def sign_in(self, identity: ServiceIdentity, **settings: Any) -> ServiceIdentity:
        """Make an identity of the program sign in to this Firebase, and return the identity.

        The program under test calls as it always does, with tokens of this project. Neither the network nor the
        environment is used. `settings` are settings of a caller, by field name, such as `mode="proof"`.
        """
        if not isinstance(identity, ServiceIdentity):
            raise TypeError(f"sign_in takes the ServiceIdentity of the program under test, not {identity!r}")
        former = identity.replace_parts(self.identity_parts(identity.service, **settings))
        self._undo.append(partial(identity.replace_parts, former))
        return identity

    def as_user(self, uid: str = "maya", *, flaw: str | None = None, **claims: Any) -> UserCredentials:
        """Return the credentials of a signed-in user, for the `auth` of a client.

        `claims` are claims of the ID token, such as `role="admin"` or `email="maya@example.com"`. With `flaw`, the
        token has that flaw: the name of an attack, or the code of the refusal. Raises `UnknownFlaw`.
        """
        return UserCredentials(self, uid, claims, flaw)

    def as_service(
        self,
        service: str,
        *,
        to: str | None = None,
        mode: Mode | None = None,
        flaw: str | None = None,
        reuse: bool = False,
    ) -> ServiceCredentials:
        """Return the credentials of a service, for the `auth` of a client. Each request gets new ones.

        `to` is the service that is called; it may be left out if one app is under test. The default `mode` is that of
        the project. With `flaw`, each call has that flaw: the name of an attack, or the code of the refusal, such as
        `expired`. With `reuse`, each request gets the credentials of the first one, so the second one is a replay.

        Raises `UnknownFlaw`, and ValueError for a name that no service can have, for another mode, and if it is not
        clear which service is called.
        """
        audience = service_name(to) if to else self._only_audience()
        return ServiceCredentials(
            self,
            service_name(service),
            audience,
            token_mode(mode) if mode else self.settings().mode,
            url=self._urls.get(audience, BASE_URL),
            flaw=flaw,
            reuse=reuse,
        )

    def _only_audience(self) -> str:
        if len(self._urls) == 1:
            return next(iter(self._urls))
        raise ValueError(
            f"Several services are under test ({', '.join(sorted(self._urls))}). Name one, for example: to='product'."
            if self._urls
            else "No app is under test. Call firebase.protect(app), or name the service that is called: to='product'."
        )


def _holders_of(app: object) -> Iterable[VerifierHolder]:
    """Return what has the verifiers of an app. No framework is imported that the app does not use."""
    callee = getattr(app, CALLEE, app)
    if isinstance(callee, RequestVerifier):
        return [callee]
    extensions = getattr(app, "extensions", None)
    if isinstance(extensions, dict):
        return dict.fromkeys(extensions.get(EXTENSION, {}).values())
    if "mstoken.guard" not in sys.modules:
        return []
    from mstoken.guard import guards_of

    return guards_of(app)
