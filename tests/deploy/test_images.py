"""deploy/images.py: tags become digests, and nothing is built without them."""

import json
from collections.abc import Sequence

import pytest

from deploy import images
from deploy.images import ImageError
from tests.deploy import files

DIGEST = "sha256:" + "0123456789abcdef" * 4


class Docker:
    """Answers as `docker buildx imagetools inspect` does, and keeps the commands."""

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.commands: list[Sequence[str]] = []

    def __call__(self, command: Sequence[str]) -> str:
        self.commands.append(command)
        return self.answer


def test_the_tags() -> None:
    """Each image has a variable and a tag that names a version."""
    found = images.tags(images.TAGS.read_text())
    assert images.BASE in found
    assert [tag for tag in found.values() if ":" not in tag or tag.endswith(":latest")] == []


def test_the_digest_of_a_tag_is_looked_up_and_written_with_it() -> None:
    """The file has the tag for people, and the digest for Docker, which ignores the tag then."""
    docker = Docker(json.dumps({"mediaType": "application/vnd.oci.image.index.v1+json", "digest": DIGEST, "size": 1}))
    text = images.pinned({"PYTHON_IMAGE": "python:3.11"}, docker)
    assert text.splitlines()[1:] == [f"PYTHON_IMAGE=python:3.11@{DIGEST}"]
    assert images.pins(text) == {"PYTHON_IMAGE": f"python:3.11@{DIGEST}"}
    assert docker.commands == [
        ["docker", "buildx", "imagetools", "inspect", "python:3.11", "--format", "{{json .Manifest}}"]
    ]


@pytest.mark.parametrize("answer", ["", "Name: python", "{}", "[]", '{"digest": "sha256:12"}'])
def test_an_answer_without_a_digest_is_an_error(answer: str) -> None:
    """Old versions of Docker print something else. A part of a digest is not written either."""
    with pytest.raises(ImageError, match=r"no digest for python:3\.11"):
        images.look_up("python:3.11", Docker(answer))


def test_a_pin_without_a_digest_is_refused() -> None:
    """Somebody may have edited the file by hand."""
    with pytest.raises(ImageError, match="PYTHON_IMAGE"):
        images.pins("PYTHON_IMAGE=python:3.11\n")


def test_the_image_is_built_from_the_pinned_base_and_named_after_the_commit() -> None:
    """The Dockerfile has no default for its base, so the command gives it."""
    command = images.build_command(f"python:3.11@{DIGEST}", "c0ffee" * 6 + "c0ff")
    assert f"PYTHON_IMAGE=python:3.11@{DIGEST}" in command
    assert "shop:c0ffeec0ffee" in command
    assert (files.ROOT / command[command.index("--file") + 1]).is_file()


def test_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Another command is an error, and Docker is not asked."""
    docker = Docker("")
    assert images.main(["push"], docker) == 2
    assert "digests | build" in capsys.readouterr().err
    assert docker.commands == []


@pytest.mark.process
def test_a_program_that_is_missing() -> None:
    """The error says what to do, without a traceback."""
    with pytest.raises(ImageError, match="no-such-program was not found"):
        images.run(["no-such-program"])
