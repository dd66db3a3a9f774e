"""A value that each process makes for itself when it first needs it; a forked child makes its own."""

import os
import sys
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakSet

T = TypeVar("T")


class PerProcess(Generic[T]):
    """Makes one value for all threads of a process.

    A child begins without a value and with a new lock: when its parent forked, another thread may have held the lock,
    and that thread does not exist in the child.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._value: T | None = None
        _instances.add(self)

    def get(self) -> T:
        """Return the value of this process. Make it if there is none, and raise what making it raises."""
        value = self._value
        if value is not None:
            return value
        with self._lock:
            if self._value is None:
                self._value = self._make()
            return self._value

    def peek(self) -> T | None:
        """Return the value of this process, or None if it has not been made."""
        return self._value

    def pop(self) -> T | None:
        """Forget the value of this process and return it, or None if it has not been made."""
        with self._lock:
            value, self._value = self._value, None
        return value

    def _begin_in_child(self) -> None:
        self._lock = threading.Lock()
        if self._value is not None:
            _values_of_parents.append(self._value)
            self._value = None


_instances: "WeakSet[PerProcess[Any]]" = WeakSet()
_values_of_parents: list[object] = []
"""Values that a child inherited. They are kept: their finalizers would close what the parent still uses."""


def _begin_in_child() -> None:
    for instance in list(_instances):
        instance._begin_in_child()


if sys.platform != "win32":  # Windows cannot fork.
    os.register_at_fork(after_in_child=_begin_in_child)
