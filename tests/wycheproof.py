"""The test vectors of Project Wycheproof (C2SP/wycheproof): signatures and keys that nobody here wrote.

They are read from the folder that the variable `WYCHEPROOF_VECTORS` names, or from `../shared/vectors/wycheproof`. They
are not part of this repository. Tests that need them are skipped without them.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

VARIABLE = "WYCHEPROOF_VECTORS"
DEFAULT_FOLDER = Path(__file__).parents[2] / "shared" / "vectors" / "wycheproof"


@dataclass(frozen=True)
class Vector:
    """A test vector: its number, its result ("valid", "invalid" or "acceptable"), its own data, and its group's."""

    number: int
    comment: str
    result: str
    data: Mapping[str, Any]
    group: Mapping[str, Any]

    @property
    def is_valid(self) -> bool:
        """Whether an implementation must accept it."""
        return self.result == "valid"

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key of its group as JWK, or the symmetric key."""
        key: dict[str, Any] = self.group.get("public", self.group.get("private"))
        return key


def vectors(name: str) -> list[Vector]:
    """Return all vectors of the file `<name>.json`. Skip the test if the file is not there."""
    folder = Path(os.environ.get(VARIABLE) or DEFAULT_FOLDER)
    path = folder / f"{name}.json"
    if not path.exists():
        pytest.skip(
            f"The vectors of Project Wycheproof are not in {folder}. Put its files there, or set {VARIABLE} to their "
            f"folder. They are in testvectors_v1 of github.com/C2SP/wycheproof."
        )
    content = json.loads(path.read_text())
    found = [
        Vector(test["tcId"], test["comment"], test["result"], test, group)
        for group in content["testGroups"]
        for test in group["tests"]
    ]
    assert len(found) == content["numberOfTests"]
    return found


def numbers(found: Iterable[Vector]) -> set[int]:
    """Return the numbers of vectors, to compare and to show them."""
    return {vector.number for vector in found}
