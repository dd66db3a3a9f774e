"""A Firebase project in memory with the apps under test that use it. The fixture `firebase` is one."""

from typing import Any, TypeVar

from mstoken.extras import needed_by
from mstoken.testing.credentials import ServiceCredentials, UserCredentials
from mstoken.testing.fake_firebase import FakeFirebase
from mstoken.wire import Mode

App = TypeVar("App")

BASE_URL = "http://testserver"
"""The URL that Starlette's and FastAPI's `TestClient` call by default."""


class FirebaseProject(FakeFirebase):
    """A `FakeFirebase` that takes the place of the Firebase of apps, until `release`."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        """The parameters are those of `FakeFirebase`."""
        super().__init__(*args, **settings)
        self._urls: dict[str, str] = {}
        self._replaced: list[tuple[Any, Any]] = []

    def protect(self, app: App, *, base_url: str = BASE_URL, **settings: Any) -> App:
        """Make an app verify its calls with this Firebase, and return the app.

        Every verifier that `mstoken.fastapi.protect` gave to the app, or to an app that is mounted in it, is replaced.
        The service stays the same, spent ids are kept in memory, and the environment is not read. `settings` are
        settings of the verifier, by field name, such as `require_proof=True`. Proofs are made for `base_url`.

        Raises ValueError if the app has no verifier: then `protect(app, TokenVerifier(...))` was not called.
        """
        with needed_by("FirebaseProject.protect", "fastapi"):
            from mstoken.guard import guards_of
        guards = list(guards_of(app))
        if not guards:
            raise ValueError(
                "This app has no verifier, so its routes could not tell who is calling. Call "
                "protect(app, TokenVerifier(...)) where the app is made."
            )
        for guard in guards:
            assert guard.verifier is not None  # noqa: S101 - `guards_of` yields those that have one
            self._replaced.append((guard, guard.verifier))
            audience = guard.verifier.audience
            self._urls[audience] = base_url
            guard.verifier = self.verifier(audience, base_url=base_url, **settings)
        return app

    def release(self) -> None:
        """Give the apps the verifiers back that they had before."""
        while self._replaced:
            guard, verifier = self._replaced.pop()
            guard.verifier = verifier
        self._urls.clear()

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

        Raises `UnknownFlaw`, and ValueError if it is not clear which service is called.
        """
        audience = to or self._only_audience()
        return ServiceCredentials(
            self,
            service,
            audience,
            mode or self.settings().mode,
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
