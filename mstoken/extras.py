"""Extras: what the parts of the library need beyond its core, and one sentence that says so if it is not installed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

MODULES: Mapping[str, frozenset[str]] = {
    "admin": frozenset({"firebase_admin"}),
    "aiohttp": frozenset({"aiohttp"}),
    "cli": frozenset({"firebase_admin", "rich", "typer"}),
    "emulator": frozenset({"fastapi", "firebase_admin", "rich", "starlette", "typer", "uvicorn"}),
    "fastapi": frozenset({"fastapi", "firebase_admin", "starlette"}),
    "firestore": frozenset({"firebase_admin", "google.api_core", "google.cloud"}),
    "flask": frozenset({"firebase_admin", "flask"}),
    "opentelemetry": frozenset({"opentelemetry"}),
    "postgresql": frozenset({"asyncpg"}),
    "redis": frozenset({"redis"}),
    "requests": frozenset({"requests"}),
    "starlette": frozenset({"firebase_admin", "starlette"}),
    "testing": frozenset({"firebase_admin", "pytest"}),
}
"""The modules that each extra installs, and that the library imports."""


class MissingExtra(ImportError):
    """A part of the library needs the extra `extra`, which is not installed."""

    def __init__(self, part: str, extra: str) -> None:
        super().__init__(f"{part} needs the extra {extra}. Install it: pip install 'mstoken[{extra}]'")
        self.extra = extra


@contextmanager
def needed_by(part: str, extra: str) -> Iterator[None]:
    """Raise `MissingExtra` if an import in the block fails because `extra` is not installed.

    `part` is what needs it, the subject of the error's sentence, such as "TokenVerifier". An import that fails for
    another reason keeps its error.

    If a part inside of the block needs a smaller extra, which `extra` brings, the error names `extra`.
    """
    try:
        yield
    except MissingExtra as error:
        if not MODULES[error.extra] <= MODULES[extra]:
            raise
        raise MissingExtra(part, extra) from error
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if not any(missing == module or missing.startswith(f"{module}.") for module in MODULES[extra]):
            raise
        raise MissingExtra(part, extra) from error
