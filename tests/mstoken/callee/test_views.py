"""Functions that a decorator protects: what is noted on them, and what they must take."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest

from mstoken.callee.callers import Admission
from mstoken.callee.views import admission_of, note_admission

BILLING = Admission.of(services={"billing"})
BILLING_AND_USERS = Admission.of(users=True, services={"billing", "user"})


def protected(view: Callable[..., Any], admission: Admission) -> Callable[..., Any]:
    """Return the function with a note, as the decorators of the adapters make it."""

    @wraps(view)
    def answer(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    note_admission(answer, view, admission)
    return answer


def test_the_callers_that_all_decorators_admit() -> None:
    """A second decorator admits nothing that the first does not. Any other decorator above them keeps the note."""

    def view(caller: object) -> None: ...

    assert admission_of(view) is None
    once = protected(view, BILLING_AND_USERS)
    assert admission_of(once) == BILLING_AND_USERS
    assert admission_of(protected(once, BILLING)) == BILLING_AND_USERS & BILLING
    assert admission_of(wraps(once)(lambda: None)) == BILLING_AND_USERS


def test_a_function_must_take_its_caller() -> None:
    """So a function that is registered without the protection is found: it lacks an argument."""

    def takes_any(**arguments: object) -> None: ...

    protected(takes_any, BILLING)

    def list_products(request: object) -> None: ...

    with pytest.raises(TypeError, match=r"list_products has no parameter 'caller'.*put allow\(\) below"):
        protected(list_products, BILLING)
