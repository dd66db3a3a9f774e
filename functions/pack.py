"""Packs mstoken into packed/, since a deploy uploads this folder and nothing beside it; firebase.json has it run first.

Run by the machine's own Python, so only the standard library is used here.
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

FUNCTIONS = Path(__file__).resolve().parent
PACKAGE = FUNCTIONS.parent / "mstoken"
PACKED = FUNCTIONS / "packed"


def pack() -> None:
    """Puts a copy of the package in the place of an earlier one, once it is whole.

    Raises OSError where that fails: then the earlier one stays, and the deploy ends.
    """
    PACKED.mkdir(exist_ok=True)
    # Made in there, for a rename must stay in one file system. What a killed run leaves there begins with a dot, and
    # what begins with a dot is not uploaded.
    with TemporaryDirectory(prefix=".", dir=PACKED) as folder:
        whole, earlier = Path(folder, "whole"), Path(folder, "earlier")
        for file in (*PACKAGE.rglob("*.py"), PACKAGE / "py.typed"):
            copy = whole / file.relative_to(PACKAGE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        place = PACKED / PACKAGE.name
        if place.exists():
            place.rename(earlier)
        whole.rename(place)


if __name__ == "__main__":
    pack()
