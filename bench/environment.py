"""Where and with what a run is made: the machine, the versions and the commit."""

import importlib.metadata
import os
import platform
import shutil
import sqlite3
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import psutil

from bench.results import Machine, Run

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
"""The results that the repository keeps, with the report."""
LIBRARIES = (
    *("firebase-admin", "google-auth", "pyjwt", "joserfc", "auth0-api-python", "cryptography"),
    *("fastapi", "starlette", "pydantic", "uvicorn", "uvloop", "httpx", "httpcore"),
    *("sqlalchemy", "asyncpg", "redis"),
)
POSTGRESQL_FOLDERS = "/usr/lib/postgresql/*/bin"
"""Where Debian installs PostgreSQL. It is not on the PATH there."""


def new_run(*, is_quick: bool = False) -> Run:
    """Return a run that has measured nothing yet."""
    return Run(date=now(), commit=commit(), machine=machine(), versions=versions(), sections=[], is_quick=is_quick)


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def commit() -> str:
    """Return the commit of the working tree, with "+" if there are changes besides results. "unknown" without Git."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    found = _output(git, "-C", str(ROOT), "rev-parse", "--short=12", "HEAD")
    changed = _output(git, "-C", str(ROOT), "status", "--porcelain", "--", ".", ":!bench/results")
    return (found + "+" if changed else found) or "unknown"


def machine() -> Machine:
    """Return what this machine is."""
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory_gb=round(psutil.virtual_memory().total / 2**30, 1),
        system=platform.platform(terse=True),
        load_before=round(os.getloadavg()[0], 2),
    )


def versions() -> dict[str, str]:
    """Return the versions of Python, of the libraries that are measured, and of the servers that are installed."""
    found = {"Python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    found["SQLite"] = sqlite3.sqlite_version
    servers = {"PostgreSQL": _postgresql(), "Redis": shutil.which("redis-server")}
    for server, program in servers.items():
        if program and (words := _output(program, "--version").replace("v=", "").split()):
            found[server] = next((word for word in words if word[0].isdigit()), words[-1])
    return found


def _postgresql() -> str | None:
    folders = sorted(Path("/").glob(POSTGRESQL_FOLDERS.lstrip("/")), reverse=True)
    return shutil.which("postgres") or next((str(folder / "postgres") for folder in folders), None)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _output(*command: str) -> str:
    """Return what a program prints, or "" if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - found on the PATH
    return done.stdout.strip() if done.returncode == 0 else ""
