"""The sentence about an extra that is not installed."""

import tomllib
from pathlib import Path

import pytest

from mstoken.extras import MODULES, MissingExtra, needed_by

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


@pytest.mark.parametrize("module", ["redis", "redis.asyncio"])
def test_a_missing_extra_is_named(module: str) -> None:
    """The error says what needs the extra, and how to install it."""
    sentence = r"^RedisReplayStore needs .* pip install 'mstoken\[redis\]'$"
    with pytest.raises(MissingExtra, match=sentence) as caught, needed_by("RedisReplayStore", "redis"):
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)
    assert caught.value.extra == "redis"


@pytest.mark.parametrize(
    "error", [ModuleNotFoundError("No module named 'numpy'", name="numpy"), ImportError("broken"), ValueError("other")]
)
def test_another_error_stays(error: Exception) -> None:
    """An import that fails for another reason keeps its error."""
    with pytest.raises(type(error)) as caught, needed_by("RedisReplayStore", "redis"):
        raise error
    assert caught.value is error


def test_every_extra_exists() -> None:
    """The errors name extras that the package has."""
    extras = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    assert MODULES.keys() - extras.keys() == set()
