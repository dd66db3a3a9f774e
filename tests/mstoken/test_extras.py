"""The sentence about an extra that is not installed."""

import subprocess
import sys
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


def test_the_larger_extra_is_named() -> None:
    """If a part needs another part, the error names what the user asked for, and the extra that brings both."""
    with (
        pytest.raises(MissingExtra, match=r"^mstoken.flask needs the extra flask"),
        needed_by("mstoken.flask", "flask"),
    ):
        raise MissingExtra("mstoken.wsgi", "admin")
    with pytest.raises(MissingExtra, match=r"^B needs the extra redis"), needed_by("A", "flask"):
        raise MissingExtra("B", "redis")


@pytest.mark.process
@pytest.mark.parametrize(
    ("module", "extra", "lacks"),
    [
        ("fastapi", "fastapi", ["fastapi"]),
        ("fastapi", "fastapi", ["fastapi", "starlette"]),
        ("starlette", "starlette", ["starlette"]),
        ("flask", "flask", ["flask"]),
        ("functions", "flask", ["flask"]),
        ("fastapi", "fastapi", ["firebase_admin"]),
        ("starlette", "starlette", ["firebase_admin"]),
        ("flask", "flask", ["firebase_admin"]),
        ("functions", "flask", ["firebase_admin"]),
        ("asgi", "admin", ["firebase_admin"]),
        ("wsgi", "admin", ["firebase_admin"]),
        ("requests", "requests", ["requests"]),
        ("aiohttp", "aiohttp", ["aiohttp"]),
    ],
)
def test_an_adapter_without_its_extra(module: str, extra: str, lacks: list[str]) -> None:
    """Importing it raises one sentence that names the extra."""
    code = f"import sys; sys.modules.update(dict.fromkeys({lacks})); import mstoken.{module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    sentence = f"mstoken.{module} needs the extra {extra}. Install it: pip install 'mstoken[{extra}]'"
    assert done.stderr.splitlines()[-1] == f"mstoken.extras.MissingExtra: {sentence}"


@pytest.mark.process
@pytest.mark.parametrize(
    ("url", "extra", "lacks"),
    [
        ("redis://localhost", "redis", "redis"),
        ("postgresql://localhost/shop", "postgresql", "asyncpg"),
        ("firestore:", "firestore", "google.api_core"),
    ],
)
def test_a_store_of_spent_ids_without_its_extra(url: str, extra: str, lacks: str) -> None:
    """The settings are wrong then, and the error names the variable and the extra."""
    code = f"""if True:
        import sys
        from mstoken import Settings
        from mstoken.callee.replay.factory import replay_store
        sys.modules[{lacks!r}] = None
        replay_store(Settings(project_id="real-shop", replay_url={url!r}), "product", {{}})
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    sentence = f"MSTOKEN_REPLAY_URL={url.partition(':')[0]}:… needs the extra {extra}. Install it: "
    assert done.stderr.splitlines()[-1] == f"mstoken.errors.SettingsError: {sentence}pip install 'mstoken[{extra}]'"


@pytest.mark.process
@pytest.mark.parametrize(
    ("urls", "variable"),
    [
        ({"replay_url": "redis://host"}, "MSTOKEN_REPLAY_URL"),
        ({"status_url": "redis://host"}, "MSTOKEN_STATUS_URL"),
        ({"replay_url": "redis://host", "status_url": "rediss://other"}, "MSTOKEN_STATUS_URL"),
    ],
    ids=["replay", "status", "both"],
)
def test_shared_status_without_its_extra(urls: dict[str, str], variable: str) -> None:
    """The error names the variable that is set: by default the Redis of spent ids has the status too."""
    code = f"""if True:
        import sys
        from mstoken import Settings
        from mstoken.callee.shared_status import status_store
        sys.modules["redis"] = None
        status_store(Settings(project_id="real-shop", **{urls!r}))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    scheme = (urls.get("status_url") or urls["replay_url"]).partition(":")[0]
    sentence = f"{variable}={scheme}:… needs the extra redis. Install it: pip install 'mstoken[redis]'"
    assert done.stderr.splitlines()[-1] == f"mstoken.errors.SettingsError: {sentence}"


@pytest.mark.process
@pytest.mark.parametrize("module", ["asgi", "flask", "starlette", "testing.project", "wsgi"])
def test_adapters_import_no_other_framework(module: str) -> None:
    """An app of one framework needs none of the others."""
    others = {"django", "fastapi", "flask", "starlette"} - {module}
    code = f"import mstoken.{module}, sys; print({others} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_every_extra_exists() -> None:
    """The errors name extras that the package has."""
    extras = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    assert MODULES.keys() - extras.keys() == set()
