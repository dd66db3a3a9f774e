"""mstoken/private_files.py"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from mstoken.private_files import make_private_file, make_private_folder


@pytest.fixture(autouse=True)
def _open_umask() -> Iterator[None]:
    """A process that would make files that everyone can read and write."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_and_all_new_folders_are_private(tmp_path: Path) -> None:
    """A new file has mode 0600, and each new folder above it has mode 0700."""
    path = tmp_path / "a" / "b" / "c.db"
    make_private_file(path)
    assert (mode(path), mode(path.parent), mode(path.parent.parent)) == (0o600, 0o700, 0o700)


def test_what_exists_is_left_alone(tmp_path: Path) -> None:
    """The content and the modes of an existing file and folder do not change."""
    (tmp_path / "shared").mkdir(mode=0o755)
    path = tmp_path / "shared" / "c.db"
    path.write_text("content")
    path.chmod(0o640)
    make_private_file(path)
    make_private_folder(path.parent)
    assert (path.read_text(), mode(path), mode(path.parent)) == ("content", 0o640, 0o755)


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    """If a folder cannot be made, OSError is raised."""
    (tmp_path / "a").write_text("")
    with pytest.raises(OSError, match="a"):
        make_private_file(tmp_path / "a" / "b" / "c.db")
