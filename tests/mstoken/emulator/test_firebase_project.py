"""What the files of a Firebase project, and the commands of the Firebase CLI, say about the project."""

import json
from pathlib import Path
from typing import Any

import pytest

from mstoken.emulator.firebase_project import auth_emulator, default_project, project_of_alias, project_of_command


@pytest.mark.parametrize(
    ("command", "project"),
    [
        ("firebase emulators:start --project demo-a", "demo-a"),
        ("firebase emulators:start --project=demo-a --only auth", "demo-a"),
        ("npx firebase -P demo-a emulators:start", "demo-a"),
        ("firebase --project demo-a emulators:start --project demo-b", "demo-b"),
        ("firebase emulators:start", None),
        ("firebase emulators:start --project", None),
        ("", None),
    ],
)
def test_the_project_that_a_command_names(command: str, project: str | None) -> None:
    """The last `--project` or `-P` counts, as in the Firebase CLI."""
    assert project_of_command(command.split()) == project


def test_projects_of_firebaserc(tmp_path: Path) -> None:
    """`.firebaserc` has the default project and aliases. Other texts are ids of projects."""
    (tmp_path / ".firebaserc").write_text('{"projects": {"default": "demo-shop", "staging": "shop-staging"}}')
    assert default_project(tmp_path) == "demo-shop"
    assert project_of_alias("staging", tmp_path) == "shop-staging"
    assert project_of_alias("demo-other", tmp_path) == "demo-other"


@pytest.mark.parametrize("text", [None, "", "[]", "{", '{"projects": []}', '{"projects": {"default": 1}}', "\x00"])
def test_a_firebaserc_that_names_no_project(tmp_path: Path, text: str | None) -> None:
    """A missing or broken `.firebaserc` names no project: the Firebase CLI says what is wrong with it."""
    if text is not None:
        (tmp_path / ".firebaserc").write_text(text)
    assert default_project(tmp_path) is None
    assert project_of_alias("a", tmp_path) == "a"


@pytest.mark.parametrize(
    ("auth", "address"),
    [
        ({"host": "127.0.0.1", "port": 19099}, "127.0.0.1:19099"),
        ({"port": 9000}, "127.0.0.1:9000"),
        ({"host": "0.0.0.0", "port": 9000}, "127.0.0.1:9000"),
        ({"host": "localhost"}, "127.0.0.1:9099"),
        ({"host": "10.0.0.5", "port": 9000}, "10.0.0.5:9000"),
        ({"host": "::1", "port": 9000}, "[::1]:9000"),
        ({"host": "::", "port": 9000}, "127.0.0.1:9000"),
        ({"port": "9000"}, "127.0.0.1:9099"),
        ({}, "127.0.0.1:9099"),
        ([], "127.0.0.1:9099"),
    ],
)
def test_the_address_of_the_auth_emulator(tmp_path: Path, auth: Any, address: str) -> None:
    """`firebase.json` has the host and the port of the Auth emulator. A server at every address is called here."""
    (tmp_path / "firebase.json").write_text(json.dumps({"emulators": {"auth": auth}}))
    assert auth_emulator(tmp_path) == address


def test_the_default_address_of_the_auth_emulator(tmp_path: Path) -> None:
    """Without a `firebase.json` it is the default of the Firebase CLI."""
    assert auth_emulator(tmp_path) == "127.0.0.1:9099"
