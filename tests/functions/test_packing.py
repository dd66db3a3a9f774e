"""What a deployment uploads. The tests run firebase.json's predeploy hook and firebase-tools' packing.

They work on a copy of the checkout, and upload nothing.
"""

import json
import shutil
import subprocess
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

from emulator.run.bootstrap import parts

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "node_modules" / "firebase-tools" / "lib"
NOT_REQUIRED = ("mstoken", "pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence")
"""Beginnings of the names in functions/venv that are not from functions/requirements.txt."""
LEFT_OUT = {"README.md", "pack.py", "requirements.in"}

PACK_FOR_UPLOAD = """
const [tools, checkout, upload] = process.argv.slice(1);
const { Config } = require(`${tools}/config`);
const { lifecycleHooks } = require(`${tools}/deploy/lifecycleHooks`);
const { prepareFunctionsUpload } = require(`${tools}/deploy/functions/prepareFunctionsUpload`);
const { normalizeAndValidate } = require(`${tools}/functions/projectConfig`);

(async () => {
  const config = Config.load({ cwd: checkout });
  const [codebase] = normalizeAndValidate(config.src.functions);
  await lifecycleHooks("functions", "predeploy")({}, { config, project: "demo-shop", projectRoot: checkout });
  const source = config.path(codebase.source);
  const packed = await prepareFunctionsUpload(checkout, source, codebase, [], undefined, { exportType: "zip" });
  require("fs").renameSync(packed.pathToSource, upload);
})().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
"""

DISCOVER = """
import json
from firebase_functions.private.serving import get_functions

found = sorted(get_functions())
import mstoken
print(json.dumps({"functions": found, "mstoken": mstoken.__file__}))
"""

SERVE = """
from functions_framework import create_app

print(create_app("health", "main.py").test_client().get("/").get_data(as_text=True))
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the files that a deployment needs, as in a new clone, in a folder whose name has spaces and quotes."""
    copy = tmp_path / "Tom's shop for $1"
    list_files = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.check_output([*list_files, "functions", "mstoken", "firebase.json"], cwd=ROOT, text=True)
    for name in set(names.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
    return copy


def pack_for_upload(checkout: Path) -> subprocess.CompletedProcess[str]:
    """Do what `firebase deploy` does before it uploads: run the predeploy hook, then write `upload.zip`."""
    return subprocess.run(
        ["node", "-e", PACK_FOR_UPLOAD, str(TOOLS), str(checkout), str(checkout / "upload.zip")],
        capture_output=True,
        text=True,
        check=False,
    )


def uploaded(checkout: Path) -> zipfile.ZipFile:
    """Return what a deployment of the checkout uploads."""
    packing = pack_for_upload(checkout)
    assert packing.returncode == 0, packing.stdout + packing.stderr
    return zipfile.ZipFile(checkout / "upload.zip")


def files(folder: Path) -> set[str]:
    """Return the paths of the files in a folder, relative to it."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def run(python: Path, code: str, folder: Path) -> dict[str, Any]:
    """Run Python code in a folder with the environment of a deployed function. Return the JSON that it prints."""
    ran = subprocess.run(
        [str(python), "-c", code],
        cwd=folder,
        env={"GCLOUD_PROJECT": "demo-shop"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


def with_required_packages(environment: Path, requirements: Path) -> Path:
    """Make a virtual environment with the packages of `requirements` and no others. Return its Python.

    The packages are links to those of functions/venv, which set-up made from an equal file: nothing is downloaded.
    """
    (installed,) = (part for part in parts(ROOT) if part.name == "functions/venv")
    assert installed.is_current(), "run make setup"
    assert requirements.read_bytes() == (ROOT / "functions" / "requirements.txt").read_bytes()
    venv.create(environment, symlinks=True)
    (site_packages,) = environment.glob("lib/python*/site-packages")
    for path in (installed.folder / site_packages.relative_to(environment)).iterdir():
        if not path.name.startswith(NOT_REQUIRED):
            (site_packages / path.name).symlink_to(path)
    return environment / "bin" / "python"


def test_a_deploy_uploads_the_functions_and_the_library_only(checkout: Path) -> None:
    """A deployment uploads the files of functions/ that git knows and production needs, and all modules of mstoken.

    It uploads no caches, environments, logs, settings or secrets.
    """
    functions, library = files(checkout / "functions"), files(checkout / "mstoken")
    for name in (
        *("functions/.env", "functions/.env.demo-shop", "functions/.env.local", "functions/.secret.local"),
        *("functions/.data/billing.db", "functions/venv/bin/python", "functions/tasks.log"),
        *("functions/__pycache__/main.cpython-311.pyc", "functions/packed/.killed/complete/claims.py"),
        *("mstoken/__pycache__/claims.cpython-311.pyc", "mstoken/caller/notes.txt", "mstoken/.cache/claims.json"),
        *("tests/test_suite.py", ".data/billing.db"),
    ):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).touch()
    with uploaded(checkout) as upload:
        assert set(upload.namelist()) == functions - LEFT_OUT | {f"packed/mstoken/{name}" for name in library}
        for name in library:
            assert upload.read(f"packed/mstoken/{name}") == (checkout / "mstoken" / name).read_bytes()


def test_what_is_uploaded_is_all_that_the_functions_need(checkout: Path, tmp_path: Path) -> None:
    """The upload needs only the packages of requirements.txt: it lists all functions, and answers requests.

    It uses the packed mstoken, and needs no settings to list the functions.
    """
    folder, environment = tmp_path / "deployed", tmp_path / "environment"
    with uploaded(checkout) as upload:
        upload.extractall(folder)
    python = with_required_packages(environment, folder / "requirements.txt")
    found = run(python, DISCOVER, folder)
    assert {"deliver", "health"} <= set(found["functions"])
    assert Path(found["mstoken"]) == folder / "packed" / "mstoken" / "__init__.py"
    assert run(python, SERVE, folder)["status"] == "ok"


def test_a_deployment_replaces_what_an_earlier_one_packed(checkout: Path) -> None:
    """A module that was removed from the library is not uploaded again."""
    gone = checkout / "mstoken" / "gone.py"
    gone.touch()
    with uploaded(checkout) as first:
        assert "packed/mstoken/gone.py" in first.namelist()
    gone.unlink()
    with uploaded(checkout) as second:
        assert set(first.namelist()) - set(second.namelist()) == {"packed/mstoken/gone.py"}


def test_a_failure_to_pack_ends_the_deployment(checkout: Path) -> None:
    """If the library cannot be copied, nothing is uploaded, and the copy of an earlier deployment stays."""
    packed = checkout / "functions" / "packed"
    uploaded(checkout).close()
    (checkout / "upload.zip").unlink()
    before = files(packed)
    (checkout / "mstoken" / "lost.py").symlink_to("nowhere.py")
    packing = pack_for_upload(checkout)
    assert packing.returncode == 1
    assert "functions predeploy error" in packing.stderr
    assert not (checkout / "upload.zip").exists()
    assert files(packed) == before
    assert [path.name for path in packed.iterdir()] == ["mstoken"]


def test_the_checkout_wins_over_a_packed_copy(checkout: Path) -> None:
    """On a laptop the functions use the checkout's mstoken, even if a deployment left a copy in packed/."""
    stale = checkout / "functions" / "packed" / "mstoken"
    stale.mkdir(parents=True)
    (stale / "__init__.py").write_text("raise AssertionError('This is the copy.')")
    found = run(ROOT / "functions" / "venv" / "bin" / "python", DISCOVER, checkout / "functions")
    assert Path(found["mstoken"]).resolve() == ROOT / "mstoken" / "__init__.py"
