"""The table of upstream errors is complete."""

import inspect
from types import ModuleType

import pytest
from firebase_admin import auth, exceptions
from google.auth import exceptions as google

from mstoken.upstream_errors import MEANINGS, Meaning, meaning_of


@pytest.mark.parametrize("module", [auth, exceptions, google], ids=lambda module: module.__name__)
def test_every_upstream_error_is_in_the_table(module: ModuleType) -> None:
    """This test fails if a release of firebase-admin or google-auth adds an error."""
    found = {
        value
        for _, value in inspect.getmembers(module, inspect.isclass)
        if issubclass(value, Exception) and value.__module__.startswith(("firebase_admin", "google.auth"))
    }
    assert found
    assert found - MEANINGS.keys() == set()


def test_every_entry_of_the_table_is_an_error() -> None:
    """Each entry is a class of exceptions."""
    assert all(issubclass(kind, Exception) for kind in MEANINGS)


def test_the_nearest_class_in_the_table_decides() -> None:
    """A subclass has its own meaning if it is in the table, and otherwise that of its base class."""

    class NewError(exceptions.UnavailableError):  # type: ignore[misc]
        pass

    assert meaning_of(auth.ExpiredIdTokenError("x", None)) is Meaning.EXPIRED
    assert meaning_of(NewError("x")) is Meaning.OUTAGE
    assert meaning_of(google.MalformedError("x")) is Meaning.UNTRUSTED


def test_other_errors_have_no_meaning() -> None:
    """A defect in the program does not look like an outage."""
    assert meaning_of(ZeroDivisionError()) is None
    assert meaning_of(ValueError()) is None
