"""Files and folders that only their owner can use: mode 0600 in folders of mode 0700.

They hold spent ids, customers' data, logs and keys. Only what is missing is made: the modes of files and folders that
exist are left as they are.
"""

import contextlib
import os
from pathlib import Path


def make_private_folder(path: Path) -> None:
    """Make a folder, and each folder above it that is missing. Raises OSError.

    `Path.mkdir` gives the mode to the last folder only.
    """
    if not path.is_dir():
        make_private_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def make_private_file(path: Path) -> None:
    """Make an empty file, and its folder, if they are missing. Raises OSError.

    SQLite gives the files that it makes beside a database the mode of the database.
    """
    make_private_folder(path.parent)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
