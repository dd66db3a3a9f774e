"""Rules about the tests and about the library as a whole."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mstoken
from tests import needs

ROOT = Path(__file__).parent.parent
TEST_FILES = sorted(Path(__file__).parent.rglob("test_*.py"))


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_test_says_what_it_is_about(path: Path) -> None:
    """Each test's docstring states a behaviour, so that the suite reads as the specification."""
    functions = (
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    silent = [node.name for node in functions if node.name.startswith("test_") and not ast.get_docstring(node)]
    assert not silent


def test_every_marker_is_documented() -> None:
    """CONTRIBUTING.md has a row for each marker of ours."""
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(needs.MARKERS)


def test_a_unit_test_cannot_start_a_process() -> None:
    """A test that starts a process says so with a marker. This one does not, so it fails when it tries."""
    if needs.COVERAGE_VARIABLE in os.environ:
        return  # `make test`: see `needs.Watch`.
    with pytest.raises(pytest.fail.Exception, match=r"mark it with pytest\.mark\.process"):
        subprocess.run(["true"])


def test_tests_that_share_a_server_run_in_one_process(request: pytest.FixtureRequest) -> None:
    """In a parallel run, pytest-xdist sees the group of each test. In some versions of pytest it silently does not."""
    if not request.config.getoption("loadgroup", False):
        return  # Not a parallel run.
    group = request.node.get_closest_marker("xdist_group").args[0]
    assert request.node.nodeid.endswith(f"@{group}")


@pytest.mark.process
def test_files_may_be_named_in_any_order(tmp_path: Path) -> None:
    """A file finds the fixtures of its folder, whatever the command line names before it. Not so in pytest 9.1."""
    for folder in (tmp_path, tmp_path / "tests", tmp_path / "tests" / "inner"):
        folder.mkdir(exist_ok=True)
        (folder / "test_other.py").write_text("def test_nothing():\n    pass\n")
    fixture = "import pytest\n\n@pytest.fixture\ndef thing():\n    return 1\n"
    (tmp_path / "tests" / "inner" / "conftest.py").write_text(fixture)
    (tmp_path / "tests" / "inner" / "test_last.py").write_text("def test_thing(thing):\n    assert thing == 1\n")
    files = ["tests/inner/test_other.py", "tests/test_other.py", "tests/inner/test_last.py"]
    options = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib", "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *files], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_public_surface() -> None:
    """What `import mstoken` offers is what is listed here; a change is deliberate."""
    assert sorted(mstoken.__all__) == [
        "Caller",
        "ServiceCaller",
        "ServiceIdentity",
        "Settings",
        "TokenVerifier",
        "UserCaller",
    ]


def test_the_version_is_that_of_the_package() -> None:
    """`mstoken.__version__` comes from the metadata, so that it is written in one place; other names are unknown."""
    assert mstoken.__version__ == importlib.metadata.version("mstoken")
    with pytest.raises(AttributeError, match="no attribute 'version'"):
        mstoken.version  # type: ignore[attr-defined] # noqa: B018 - to see it fail is the purpose


def test_no_two_classes_of_the_library_share_a_name() -> None:
    """Each class can be found by its name, private classes too."""
    names = [
        node.name
        for path in (ROOT / "mstoken").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_every_library_module_has_a_test_file() -> None:
    """The tests mirror the tree."""
    modules = {
        path.relative_to(ROOT / "mstoken").with_suffix("")
        for path in (ROOT / "mstoken").rglob("*.py")
        if path.name != "__init__.py"
    }
    tested = {
        path.relative_to(ROOT / "tests/mstoken").with_name(path.name.removeprefix("test_")).with_suffix("")
        for path in (ROOT / "tests/mstoken").rglob("test_*.py")
    }
    assert modules <= tested


HARD_TO_READ = re.compile(
    r"\b((is|are) wanted|in vain|all the same|whom|whoever|nobody|it is none|for want of|will not do|would do"
    r"|may be had|no telling|goes by|lets in|(?<!there )(is|are) no (?!longer|such))\b",
    re.IGNORECASE,
)
"""Phrases that a reader who learned English at school has to read twice. There is a plain way to say each."""


def test_prose_is_plain() -> None:
    """No docstring, comment, message or page of documentation contains a phrase that we have agreed not to use."""
    folders = [ROOT / name for name in ("mstoken", "services", "emulator", "functions", "bench", "deploy", "docs")]
    files = [
        file for folder in folders for file in folder.rglob("*") if file.suffix in {".py", ".md", ".toml", ".html"}
    ]
    made_by_others = {ROOT / "functions" / "venv", ROOT / "functions" / "packed"}
    found = [
        f"{file.relative_to(ROOT)}:{number}: {phrase[0]}"
        for file in [*files, *ROOT.glob("*.md")]
        if not made_by_others & set(file.parents)
        for number, line in enumerate(file.read_text().splitlines(), 1)
        for phrase in HARD_TO_READ.finditer(line)
    ]
    assert found == []
