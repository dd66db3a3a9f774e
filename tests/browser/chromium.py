"""Chromium, which the tests in this folder drive with Playwright."""

import os
import shutil
from pathlib import Path

MISSING = "Chromium is not installed (Debian: apt install chromium)"
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
PLACES = (
    "/usr/lib/chromium/chromium",
    "/usr/lib64/chromium-browser/chromium-browser",
    "/opt/google/chrome/chrome",
    "/snap/bin/chromium",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
OPTIONS = (
    "--disable-gpu",
    "--disable-dev-shm-usage",  # A container's /dev/shm is often too small.
    # The tests use only servers on this machine. These keep Chromium from using any other.
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_chromium(path: str | None = None, places: tuple[str, ...] = PLACES) -> str | None:
    """Return the program: from `path` (a list of folders, by default PATH) or the usual `places`, or None."""
    found = (shutil.which(name, path=path) for name in NAMES)
    return next((program for program in found if program), None) or next(
        (place for place in places if os.access(place, os.X_OK) and Path(place).is_file()), None
    )


def options() -> list[str]:
    """Return the command-line options. Chromium's sandbox does not work for root, who runs the tests in containers."""
    return [*OPTIONS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
