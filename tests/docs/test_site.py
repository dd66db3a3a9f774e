"""The documentation site: what `make docs` does with the pages before and after Zensical. It is built in `.ci/run`."""

from pathlib import Path

import pytest

from docs.site import build


@pytest.mark.parametrize(
    ("page", "link", "on_site"),
    [
        ("protocol.md", "](threat-model.md#trailers)", "](threat-model.md#trailers)"),
        ("protocol.md", "](../examples/README.md)", f"]({build.GITHUB}/examples/README.md)"),
        ("production.md", "](../functions/README.md#deploy)", f"]({build.GITHUB}/functions/README.md#deploy)"),
        ("guide/callee.md", "](../production.md)", "](../production.md)"),
        ("performance.md", "](../bench/results/summary.svg)", "](charts/summary.svg)"),
        ("guide/callee.md", "](../../bench/results/summary.svg)", "](../charts/summary.svg)"),
        ("performance.md", "](../bench/results/report.md)", f"]({build.GITHUB}/bench/results/report.md)"),
        ("guide/callee.md", "](../README.md)", "](../index.md)"),
        ("quickstart.md", "](README.md)", "](index.md)"),
        ("quickstart.md", "](https://example.com/a)", "](https://example.com/a)"),
        ("quickstart.md", "](#next)", "](#next)"),
    ],
)
def test_links_to_files_outside_of_the_site_lead_to_github(page: str, link: str, on_site: str) -> None:
    """Links between pages stay as they are. The index of docs/ is the home page. Charts of the benchmark come along."""
    assert build.for_site(f"a [text{link} more", Path(page)) == f"a [text{on_site} more"


def test_a_summary_is_the_first_sentence() -> None:
    """It has no Markdown and no line breaks."""
    text = "# Title\n\nThe **first** sentence of `code` and\na [link](page.md). The second.\n\nMore.\n"
    assert build.title(text) == "Title"
    assert build.summary(text) == "The first sentence of code and a link."


def test_every_page_has_a_title_and_a_summary() -> None:
    """`llms.txt` says in a sentence what each page is about."""
    for page in build.page_files():
        text = (build.DOCS / page).read_text()
        assert text.startswith("# ")
        assert build.summary(text)[-1] in ".:?"


def test_broken_links_are_found(tmp_path: Path) -> None:
    """A link to a page or a heading that does not exist is reported, and other links are not."""
    (tmp_path / "guide").mkdir()
    (tmp_path / "index.html").write_text(
        '<a href="guide/#here">1</a> <a href="guide/#gone">2</a> <a href="gone/">3</a> <a href="#top">4</a>'
        '<a href="https://example.com">5</a> <a href="guide/">6</a> <p id="top"></p>'
    )
    (tmp_path / "guide" / "index.html").write_text('<h1 id="here"></h1> <a href="../">up</a> <img src="gone.png">')
    assert build.broken_links(tmp_path) == [
        "index.html: gone/: there is no such page",
        "index.html: guide/#gone: there is no such heading",
        "guide/index.html: gone.png: there is no such page",
    ]
