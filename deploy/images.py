"""The images that deploy/ uses, pinned by digest.

`images.txt` has a tag for each image. `python -m deploy.images digests` asks the registries for the digest of each tag,
and writes both to `images.env`, which is checked in. `python -m deploy.images build` builds the image of the services
from the pinned base. Both need Docker.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
TAGS = FOLDER / "images.txt"
PINNED = FOLDER / "images.env"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
BASE = "PYTHON_IMAGE"
"""The variable with the base of the image of the services."""
NO_PINS = (
    "deploy/images.env does not exist: no digest was looked up yet. On a machine with Docker that reaches the "
    "registries, run make image-digests, and commit the file."
)

Run = Callable[[Sequence[str]], str]
"""Runs a command and returns what it prints. Raises `ImageError`."""


class ImageError(Exception):
    """An image cannot be pinned or built. The text says why, and what to do."""


def run(command: Sequence[str]) -> str:
    """Run a command in the root of the checkout, and return its stdout. Raises `ImageError`."""
    try:
        # Every command is written in this file; only tags and digests of images.txt and images.env come from outside.
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    except FileNotFoundError:
        raise ImageError(f"{command[0]} was not found. Install it, or run this on a machine that has it.") from None
    except subprocess.CalledProcessError as error:
        raise ImageError(f"{' '.join(command[:4])} … failed with exit status {error.returncode}.") from None
    return done.stdout


def tags(text: str) -> dict[str, str]:
    """Return variable -> tag from the text of images.txt."""
    lines = [line.partition(" ") for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return {name: tag.strip() for name, _, tag in lines}


def pins(text: str) -> dict[str, str]:
    """Return variable -> tag with digest from the text of images.env. Raises `ImageError` if one has no digest."""
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    for name, image in found.items():
        if not DIGEST.fullmatch(image.partition("@")[2]):
            raise ImageError(f"{name} in deploy/images.env has no digest. Run make image-digests again.")
    return found


def look_up(tag: str, run: Run) -> str:
    """Return the digest of a tag, as its registry has it now. It is that of the list of platforms, if there is one.

    Source: Docker, "docker buildx imagetools inspect".
    """
    answer = run(["docker", "buildx", "imagetools", "inspect", tag, "--format", "{{json .Manifest}}"])
    try:
        digest = str(json.loads(answer)["digest"])
    except (ValueError, KeyError, TypeError):
        digest = ""
    if not DIGEST.fullmatch(digest):
        raise ImageError(f"docker buildx imagetools gave no digest for {tag}. Update Docker, and try again.")
    return digest


def pinned(images: Mapping[str, str], run: Run) -> str:
    """Return the text of images.env for these tags."""
    lines = ["# Written by make image-digests from deploy/images.txt."]
    lines += [f"{name}={tag}@{look_up(tag, run)}" for name, tag in images.items()]
    return "\n".join(lines) + "\n"


def build_command(base: str, commit: str) -> list[str]:
    """Return the command that builds the image of the services from the pinned `base`, named after a commit."""
    return [
        *("docker", "build", "--file", "deploy/docker/Dockerfile", "--build-arg", f"{BASE}={base}"),
        *("--label", f"org.opencontainers.image.revision={commit}", "--tag", f"shop:{commit[:12]}", "."),
    ]


def main(arguments: Sequence[str], run: Run = run) -> int:
    """Run `digests` or `build`. Return the exit status."""
    try:
        match arguments:
            case ["digests"]:
                PINNED.write_text(pinned(tags(TAGS.read_text()), run))
                sys.stdout.write(f"Wrote {PINNED.relative_to(ROOT)}. Look at the change, and commit it.\n")
            case ["build"]:
                if not PINNED.exists():
                    raise ImageError(NO_PINS)
                commit = run(["git", "rev-parse", "HEAD"]).strip()
                if run(["git", "status", "--porcelain", "--", "mstoken", "services", "deploy/docker"]).strip():
                    raise ImageError("mstoken, services or deploy/docker differ from the commit. Commit first.")
                run(build_command(pins(PINNED.read_text())[BASE], commit))
                sys.stdout.write(f"Built shop:{commit[:12]}.\n")
            case _:
                sys.stderr.write("Usage: python -m deploy.images digests | build\n")
                return 2
    except ImageError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
