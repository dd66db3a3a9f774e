"""Names of a package that are imported when they are first used."""

import subprocess
import sys

import pytest

import mstoken
import mstoken.testing
from mstoken.extras import MissingExtra
from mstoken.lazy_exports import lazily


def test_every_export_can_be_imported() -> None:
    """Each name in `__all__` is there, and no other."""
    for package in (mstoken, mstoken.testing):
        for name in package.__all__:
            assert getattr(package, name) is not None
        with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'Nothing'"):
            _ = package.Nothing


def test_a_name_whose_extra_is_missing() -> None:
    """The error names the extra. A name that needs no extra keeps its error."""
    get = lazily("package", {"A": "redis.is_not_here", "B": "redis.is_not_here"}, {"A": "redis"})
    with pytest.raises(MissingExtra, match=r"^A needs the extra redis"):
        get("A")
    with pytest.raises(ModuleNotFoundError, match="is_not_here"):
        get("B")


@pytest.mark.process
def test_the_package_imports_nothing_before_it_is_used() -> None:
    """`import mstoken` does not import what verifies, nor what signs in."""
    code = "import sys, mstoken; print([n for n in sys.modules if n.split('.')[0] in ('httpx', 'firebase_admin')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
