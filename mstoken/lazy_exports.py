"""Names of a package that are imported when they are first used (PEP 562).

A process that only calls services does not import what verifies tokens, and pytest starts quickly with our plugin.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from mstoken.extras import needed_by


def lazily(package: str, modules: Mapping[str, str], extras: Mapping[str, str] | None = None) -> Callable[[str], Any]:
    """Return a `__getattr__` for `package`. `modules` maps each name to the module that has it.

    `extras` maps a name to the extra that it needs. If the extra is not installed, the name raises `MissingExtra`.
    """
    extras = extras or {}

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if name not in extras:
            return getattr(importlib.import_module(modules[name]), name)
        with needed_by(name, extras[name]):
            return getattr(importlib.import_module(modules[name]), name)

    return get
