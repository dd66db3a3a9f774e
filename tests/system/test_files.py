"""The files of a running shop."""

import stat

from emulator.run.logins import Login
from emulator.run.shop_client import logged_in
from emulator.run.stack import Stack


def test_everything_that_a_shop_writes_is_private(stack: Stack, emulators: Stack, customer: Login) -> None:
    """Databases, spent ids, logs and settings have mode 0600, in folders of mode 0700."""
    with logged_in(stack, customer) as client:
        client.call("GET", "user", "/profile", 200)
    written = [path for shop in (stack, emulators) for path in shop.data.rglob("*") if not path.is_symlink()]
    names = {path.name for path in written}
    assert {"user.db", "user.db-wal", "user-spent.db", "user.log", "emulators.log", "firebase.json"} <= names
    others = {str(path): oct(stat.S_IMODE(path.stat().st_mode)) for path in written if path.stat().st_mode & 0o077}
    assert others == {}
