"""The documentation names what exists: its links lead somewhere, and the architecture page names real modules."""

import re
from pathlib import Path

import pytest

from docs.site import build

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [
        *(page for pattern in ("*.md", "docs/**/*.md", "examples/*.md") for page in ROOT.glob(pattern)),
        *ROOT.glob("services/**/*.md"),
        ROOT / "functions/README.md",
    ]
)
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
FOLDERS = ["", "mstoken", "services/billing", "services/product", "emulator"]
"""The folders that a path on the architecture page may start in."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every file that a page links to exists."""
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_page_is_in_the_index() -> None:
    """The index of the docs links to each other page in the folder and below it."""
    index = (ROOT / "docs/README.md").read_text()
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")} - {"README.md"}
    assert pages <= set(re.findall(r"\]\(([\w/-]+\.md)\)", index))


def test_every_page_is_in_the_navigation() -> None:
    """The navigation of the site, in docs/site/zensical.toml, has each page of docs/ and of the reference once."""
    pages = {page if str(page) != "README.md" else Path("index.md") for page in build.page_files()}
    reference = {Path("reference") / f"{name}.md" for name in build.REFERENCE}
    assert sorted(build.navigation()) == sorted(pages | reference)


def test_the_architecture_names_files_that_exist() -> None:
    """Every path or module in code font on the architecture page exists in the tree."""
    named = set(re.findall(r"`([\w./-]+(?:\.py|\.md|\.toml|/))`", ARCHITECTURE))
    assert len(named) > 40
    assert [name for name in sorted(named) if not _exists(name)] == []


def test_the_architecture_lists_every_module_of_the_library() -> None:
    """The picture of the library names each module, so that a new one gets its place."""
    picture = ARCHITECTURE.split("## The library")[1].split("```")[1]
    modules = {
        path.stem
        for path in (ROOT / "mstoken").rglob("*.py")
        if "cli" not in path.parts and not path.stem.startswith("__")
    }
    assert modules - {"factory", "store"} <= set(re.findall(r"\w+", picture))


def test_the_architecture_names_classes_that_exist() -> None:
    """Every name in code font that looks like a class, a constant or a method of one is in the code."""
    code = "\n".join(
        path.read_text()
        for folder in ("mstoken", "services", "functions", "emulator")
        for path in (ROOT / folder).glob("**/*.py")
        if "venv" not in path.parts
    )
    named = set(re.findall(r"`((?:\w+\.)?_?[A-Z]\w+(?:\.\w+)?)`", ARCHITECTURE))
    words = {word for name in named for word in name.split(".")}
    assert len(words) > 20
    assert [word for word in sorted(words) if not re.search(rf"\b{word}\b", code)] == []


def _exists(name: str) -> bool:
    if any((ROOT / folder / name).exists() for folder in FOLDERS):
        return True
    return "/" not in name and any(True for folder in FOLDERS[1:] for _ in (ROOT / folder).rglob(name))
