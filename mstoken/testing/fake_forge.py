"""A forge for a `FakeFirebase`: valid tokens to spoil."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

from typing_extensions import override

from mstoken.emulator.keys import Key
from mstoken.testing.fake_firebase import HEADER, FakeFirebase
from mstoken.testing.forge import Claims, Forge


class FakeForge(Forge):
    """Makes tokens that `firebase` signs. `clock` returns seconds since the epoch.

    That Firebase has a secret instead of a key pair. So the certificate is that of a key that signs nothing.
    """

    def __init__(self, firebase: FakeFirebase, clock: Callable[[], float]) -> None:
        super().__init__(firebase.project_id, _attackers_key())
        self._firebase = firebase
        self._clock = clock

    @override
    def now(self) -> int:
        return int(self._clock())

    @override
    def signed(self, claims: Claims | str, **header: Any) -> str:
        return self._firebase.sign(HEADER | header, claims if isinstance(claims, str) else json.dumps(claims))

    @override
    def certificates(self) -> dict[str, str]:
        return {HEADER["kid"]: _published_key().certificate}


@cache
def _attackers_key() -> Key:
    """Return the key of the attacker. It takes long to make, so all forges of a process share it."""
    return Key()


@cache
def _published_key() -> Key:
    return Key()
