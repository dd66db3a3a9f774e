"""Work on a database without the code of the services."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, create_engine
from sqlalchemy.ext.asyncio import create_async_engine

T = TypeVar("T")


async def on(url: str, work: Callable[[Connection], T]) -> T:
    """Return what `work` returns. It runs in a transaction of its own."""
    if url.startswith("sqlite:"):
        return await asyncio.to_thread(_on_sqlite, url, work)
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    finally:
        await engine.dispose()


def _on_sqlite(url: str, work: Callable[[Connection], T]) -> T:
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            return work(connection)
    finally:
        engine.dispose()
