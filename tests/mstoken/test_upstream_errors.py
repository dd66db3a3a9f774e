"""The table of foreign errors is complete."""

import inspect
from types import ModuleType

import pytest
from firebase_admin import auth, exceptions
from google.auth import exceptions as google

from mstoken.upstream_errors import MEANINGS, Meaning, meaning_of


@pytest.mark.parametrize("module", [auth, exceptions, google], ids=lambda module: module.__name__)
def test_every_error_that_they_have_stands_in_the_table(module: ModuleType) -> None:
    """A release of firebase-admin or google-auth that adds one makes this test fail."""
    found = {
        value
        for _, value in inspect.getmembers(module, inspect.isclass)
        if issubclass(value, Exception) and value.__module__.startswith(("firebase_admin", "google.auth"))
    }
    assert found
    assert found - MEANINGS.keys() == set()


def test_the_table_has_nothing_that_is_not_an_error() -> None:
    """Each entry can be raised."""
    assert all(issubclass(kind, Exception) for kind in MEANINGS)


def test_the_nearest_class_decides() -> None:
    """An expired token is an invalid one too, and a class that nobody listed counts as what it derives from."""

    class NewError(exceptions.UnavailableError):  # type: ignore[misc]
        pass

    assert meaning_of(auth.ExpiredIdTokenError("x", None)) is Meaning.EXPIRED
    assert meaning_of(NewError("x")) is Meaning.OUTAGE
    assert meaning_of(google.MalformedError("x")) is Meaning.UNTRUSTED


def test_other_errors_have_no_meaning_here() -> None:
    """A defect in the program is not made to look like an outage."""
    assert meaning_of(ZeroDivisionError()) is None
    assert meaning_of(ValueError()) is None
