"""Copies mstoken into packed/, because a deployment uploads only this folder. firebase.json runs this file first.

It is run by the machine's own Python, so it uses only the standard library.
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

FUNCTIONS = Path(__file__).resolve().parent
PACKAGE = FUNCTIONS.parent / "mstoken"
PACKED = FUNCTIONS / "packed"


def pack() -> None:
    """Replace an earlier copy of the package with a new one, once the new one is complete.

    Raises OSError if that fails. Then the earlier copy stays, and the deployment ends.
    """
    PACKED.mkdir(exist_ok=True)
    # The new copy is made inside packed/, because a rename works only within one file system. If this process is
    # killed, its folder stays there. Its name begins with a dot, so it is not uploaded.
    with TemporaryDirectory(prefix=".", dir=PACKED) as folder:
        complete, earlier = Path(folder, "complete"), Path(folder, "earlier")
        for file in (*PACKAGE.rglob("*.py"), PACKAGE / "py.typed"):
            copy = complete / file.relative_to(PACKAGE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        place = PACKED / PACKAGE.name
        if place.exists():
            place.rename(earlier)
        complete.rename(place)


if __name__ == "__main__":
    pack()
