"""Extras: what the parts of the library need beyond its core, and one sentence that says so if it is not installed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

MODULES: Mapping[str, frozenset[str]] = {
    "admin": frozenset({"firebase_admin"}),
    "aiohttp": frozenset({"aiohttp"}),
    "cli": frozenset({"rich", "typer"}),
    "emulator": frozenset({"fastapi", "starlette", "uvicorn"}),
    "fastapi": frozenset({"fastapi", "starlette"}),
    "flask": frozenset({"flask"}),
    "postgresql": frozenset({"asyncpg"}),
    "redis": frozenset({"redis"}),
    "requests": frozenset({"requests"}),
    "starlette": frozenset({"starlette"}),
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
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in MODULES[extra]:
            raise
        raise MissingExtra(part, extra) from error
