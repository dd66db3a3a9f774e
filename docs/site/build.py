"""`make docs`: builds the documentation site into .data/docs/site. Warnings are errors, and every link is checked.

Zensical builds it, in an environment of its own. The pages in docs/ also work on GitHub, where they link to files of
the repository. So this program copies them first, and makes addresses on GitHub of those links. It adds the reference
(one page for each entry of `REFERENCE`) and `llms.txt`, which lists the pages as Markdown for language models
(https://llmstxt.org).
"""

import asyncio
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

from emulator.run.bootstrap import Part, SetupError, digest, make_all, virtual_environment

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BUILD = ROOT / ".data" / "docs"
PAGES, SITE = BUILD / "pages", BUILD / "site"
CONFIG = DOCS / "site" / "zensical.toml"
REQUIREMENTS = DOCS / "site" / "requirements.txt"
GITHUB = "https://github.com/mstoken/mstoken/blob/main"
RESULTS = ROOT / "bench" / "results"
"""Where `make bench` writes its charts. The pages of the site have them beside the other charts."""
ASSETS = ("vectors.json",)
"""Files beside the pages that are part of the site."""

REFERENCE: Mapping[str, tuple[str, str, Sequence[str]]] = {
    "caller": (
        "Caller",
        "The identity of a service that calls.",
        [
            *("mstoken.ServiceIdentity", "mstoken.caller.auth.ServiceAuth"),
            *("mstoken.requests.RequestsAuth", "mstoken.aiohttp.AiohttpAuth"),
        ],
    ),
    "callee": (
        "Callee",
        "What a service that is called uses, with each framework.",
        [
            *("mstoken.TokenVerifier", "mstoken.ServiceCaller", "mstoken.UserCaller"),
            *("mstoken.fastapi.allow", "mstoken.starlette.protect", "mstoken.starlette.allow"),
            *("mstoken.flask.protect", "mstoken.flask.allow", "mstoken.functions.Callee"),
            *("mstoken.wsgi.WsgiVerifier", "mstoken.asgi.AsgiVerifier", "mstoken.callee.callers.Admission"),
        ],
    ),
    "settings": ("Settings", "The settings of callers and callees.", ["mstoken.Settings"]),
    "errors": ("Errors", "What the library raises, and what a callee answers.", ["mstoken.errors", "mstoken.problem"]),
    "testing": (
        "Testing",
        "A Firebase project in memory, for unit tests.",
        ["mstoken.testing.FirebaseProject", "mstoken.testing.FakeFirebase"],
    ),
    "token-service": (
        "Token service",
        "The one service that signs custom tokens.",
        ["mstoken.functions.TokenEndpoint", "mstoken.issuer.service.TokenService", "mstoken.issuer.policy.Policy"],
    ),
}

_LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")


def page_files() -> list[Path]:
    """Return the pages in docs/, relative to it."""
    return sorted(page.relative_to(DOCS) for page in DOCS.rglob("*.md"))


def for_site(text: str, page: Path) -> str:
    """Return the text of `page` with the links to files outside of docs/ as addresses on GitHub."""

    def replace(found: re.Match[str]) -> str:
        target = (DOCS / page.parent / found[1]).resolve()
        anchor = found[2] or ""
        top = "../" * (len(page.parts) - 1)
        if target == DOCS / "README.md":
            return f"]({top}index.md{anchor})"
        if target.parent == RESULTS and target.suffix == ".svg":
            return f"]({top}charts/{target.name})"
        if target.is_relative_to(DOCS):
            return found[0]
        return f"]({GITHUB}/{target.relative_to(ROOT)}{anchor})"

    return _LINK.sub(replace, text)


def title(text: str) -> str:
    """Return the title of a page: its first heading."""
    return text.partition("\n")[0].removeprefix("# ")


def summary(text: str) -> str:
    """Return the first sentence of a page, in one line and without Markdown."""
    paragraph = text.partition("\n\n")[2].partition("\n\n")[0].replace("\n", " ")
    plain = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", paragraph).replace("`", "").replace("**", "")
    return re.split(r"(?<=[.?!])\s", plain)[0]


def stage() -> None:
    """Copy the pages, and add the reference."""
    shutil.rmtree(PAGES, ignore_errors=True)
    texts = {page: for_site((DOCS / page).read_text(), page) for page in page_files()}
    texts[Path("index.md")] = texts.pop(Path("README.md"))
    for name, (heading, about, objects) in REFERENCE.items():
        sections = "\n\n".join(f"::: {identifier}" for identifier in objects)
        texts[Path("reference") / f"{name}.md"] = f"# {heading}\n\n{about}\n\n{sections}\n"
    for page, text in texts.items():
        (PAGES / page).parent.mkdir(parents=True, exist_ok=True)
        (PAGES / page).write_text(text)
    for asset in ASSETS:
        shutil.copy(DOCS / asset, PAGES / asset)
    (PAGES / "charts").mkdir()
    for chart in (*DOCS.glob("charts/*.svg"), *RESULTS.glob("*.svg")):
        shutil.copy(chart, PAGES / "charts" / chart.name)
    shutil.copy(CONFIG, BUILD / CONFIG.name)


def navigation() -> list[Path]:
    """Return the pages in the order of the navigation."""

    def paths(entry: object) -> Iterator[Path]:
        match entry:
            case str():
                yield Path(entry)
            case dict():
                for value in entry.values():
                    yield from paths(value)
            case list():
                for value in entry:
                    yield from paths(value)

    return list(paths(tomllib.loads(CONFIG.read_text())["project"]["nav"]))


def add_markdown() -> None:
    """Add the pages as Markdown to the site, and `llms.txt`, which lists them."""
    project = tomllib.loads(CONFIG.read_text())["project"]
    lines = [f"# {project['site_name']}", "", f"> {project['site_description']}", "", "## Documentation", ""]
    for page in navigation():
        text = (PAGES / page).read_text()
        (SITE / page).parent.mkdir(parents=True, exist_ok=True)
        (SITE / page).write_text(text)
        lines.append(f"- [{title(text)}]({project['site_url']}{page}): {summary(text)}")
    (SITE / "llms.txt").write_text("\n".join(lines) + "\n")


class PageLinks(HTMLParser):
    """The links of an HTML page, and the ids that a link can lead to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.ids = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the link and the id of an element."""
        attributes = dict(attrs)
        if attributes.get("id"):
            self.ids.add(str(attributes["id"]))
        target = attributes.get("href") or attributes.get("src")
        if tag in {"a", "img", "script", "link"} and target:
            self.links.add(target)


def broken_links(site: Path) -> list[str]:
    """Return a sentence for each link within the site that leads nowhere."""
    pages = {path: PageLinks(path.read_text()) for path in site.rglob("*.html") if path.name != "404.html"}
    broken = []
    for path, page in pages.items():
        for link in sorted(page.links):
            if re.match(r"[a-z]+:|//", link):
                continue
            place, _, anchor = link.partition("#")
            target = (path.parent / unquote(place)).resolve() if place else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                broken.append(f"{path.relative_to(site)}: {link}: there is no such page")
            elif target in pages and unquote(anchor) not in pages[target].ids:
                broken.append(f"{path.relative_to(site)}: {link}: there is no such heading")
    return broken


def main() -> int:
    """Build the site. Return the exit status: 0, or 1 if something is wrong."""
    venv = BUILD / "venv"
    part = Part("docs", venv, digest(f"{sys.version} in {ROOT}", REQUIREMENTS), virtual_environment(venv, REQUIREMENTS))
    BUILD.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        if not part.is_current():
            asyncio.run(make_all([part], BUILD))
    except SetupError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    stage()
    command: list[str | Path] = [
        venv / "bin" / "zensical",
        "build",
        "--clean",
        "--strict",
        "--config-file",
        BUILD / CONFIG.name,
    ]
    if subprocess.run(command, cwd=BUILD, check=False).returncode != 0:  # noqa: S603 - a command of our own
        return 1
    add_markdown()
    if broken := broken_links(SITE):
        sys.stderr.write("\n".join(broken) + "\n")
        return 1
    sys.stdout.write(f"The site is in {SITE.relative_to(ROOT)}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
