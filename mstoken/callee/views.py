"""Functions that answer requests, and that a decorator protects: what it notes on them, and what they must take.

The adapters for Starlette, Flask and Firebase functions have such a decorator, `allow`.
"""

import inspect
from collections.abc import Callable
from typing import Any

from mstoken.callee.callers import Admission

CALLER = "caller"
"""The parameter by which a function gets its `Caller`."""
CALLEE = "__mstoken_callee__"
"""The attribute of a protected function that has its `RequestVerifier`, if the function belongs to no app."""
EXTENSION = "mstoken"
"""The entry of a Flask app's `extensions` with its verifiers: by the name of a blueprint, or None for the app."""
_ADMISSION = "__mstoken_admission__"


def admission_of(view: object) -> Admission | None:
    """Return the callers that all `allow` decorators of a function admit, or None if it has none.

    Another decorator above them keeps the note if it uses `functools.wraps`.
    """
    found = getattr(view, _ADMISSION, None)
    return found if isinstance(found, Admission) else None


def note_admission(answer: Callable[..., Any], view: Callable[..., Any], admission: Admission) -> None:
    """Note on `answer`, which protects the function `view`, the callers that both admit.

    Raises TypeError if `view` does not take its caller. So a decorator in the wrong place, above the one that registers
    the function, is found: without the parameter here, and with it at the first call, which then lacks the argument.
    """
    parameters = inspect.signature(view, follow_wrapped=False).parameters.values()
    if not any(parameter.name == CALLER or parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        raise TypeError(
            f"{getattr(view, '__name__', view)} has no parameter {CALLER!r}. A function with allow() gets who is "
            "calling there: add it, and put allow() below the decorator that makes the function a route."
        )
    inner = admission_of(view)
    setattr(answer, _ADMISSION, admission if inner is None else admission & inner)
