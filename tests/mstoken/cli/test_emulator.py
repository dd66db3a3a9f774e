"""`mstoken emulator`: it runs in front of the Firebase emulators, or starts them itself."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from emulator.run.errors import ProcessDied
from emulator.run.ports import HOST, Ports, free_offset, free_port
from emulator.run.processes import Process, Supervisor
from mstoken.cli.emulator import ENV_FILE_HEADER
from mstoken.emulator.metadata import ACCOUNTS_PATH, email_of
from mstoken.emulator.signed_auth import CERTIFICATES_PATH
from tests.mstoken.cli.conftest import Run

WAIT_SECONDS = 20.0
FAKE_EMULATOR = """
import http.server, signal, sys

port, body, status = int(sys.argv[1]), sys.argv[2].encode(), int(sys.argv[3])

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

def end(number, _):
    print("got", signal.Signals(number).name, flush=True)
    sys.exit(status)

for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, end)
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
"""Answers as the Auth emulator does, and ends with a status when it is asked to."""
AUTH_EMULATOR = '{"authEmulator": {"ready": true}}'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--project", "demo-a", "--service", "billing"], "such as billing=9103"),
        (["--project", "demo-a", "--service", "billing=0"], "such as billing=9103"),
        (["--project", "demo-a", "--service", "billing=70000"], "such as billing=9103"),
        (["--project", "demo-a", "--service", "Billing=9103"], "'Billing' is not a service name"),
        (["--project", "demo-a", "--service", "a=9103", "--service", "b=9103"], "have a port of its own"),
        (["--project", "demo-a", "--service", "a=9103", "--service", "a=9104"], "must be named once"),
        (
            ["--project", "demo-a", "--auth", "http://127.0.0.1:9099"],
            "--auth is 'http://127.0.0.1:9099': it must be host",
        ),
        (["--project", "demo-a", "--auth", "9099"], "--auth is '9099': it must be host:port"),
        (["--project", "demo-a\nLD_PRELOAD=x"], "must be a project id"),
        (["--project", "shop-7f3a2"], "must begin with 'demo-'"),
        (["--", "firebase", "emulators:start", "--project", "shop-7f3a2"], "must begin with 'demo-'"),
        ([], "Name it, for example: --project demo-shop"),
    ],
)
def test_a_wrong_option_is_named(run: Run, arguments: list[str], message: str) -> None:
    """With a wrong option nothing is started, and one sentence says what was expected."""
    result = run("emulator", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_a_file_of_the_user_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    """`--env-file` writes no file that it did not write before."""
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://\n")
    result = run("emulator", "--project", "demo-a", "--env-file", ".env")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "this command did not write it" in result.stderr
    assert (tmp_path / ".env").read_text() == "DATABASE_URL=postgresql://\n"


def test_a_missing_folder_is_found_before_anything_is_started(run: Run, tmp_path: Path) -> None:
    """`--env-file` makes no folder, and the emulators would end again when they are ready."""
    result = run("emulator", "--project", "demo-a", "--env-file", "no-such-folder/env", "--", "no-such-firebase")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "The folder no-such-folder of --env-file does not exist" in result.stderr


def test_an_address_in_firebase_json(run: Run, tmp_path: Path) -> None:
    """An address that is none is reported with the file that has it."""
    (tmp_path / "firebase.json").write_text('{"emulators": {"auth": {"host": "a b"}}}')
    result = run("emulator", "--project", "demo-a")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "The address of the Auth emulator in firebase.json is 'a b:9099'" in result.stderr


def test_an_unknown_command(run: Run) -> None:
    """A command that is not installed is named."""
    result = run("emulator", "--project", "demo-a", "--port", str(free_port()), "--", "no-such-firebase")
    assert result.exit_code == 1
    assert "No such command: no-such-firebase" in result.stderr


def test_a_port_in_use(run: Run) -> None:
    """A port that another program uses is named."""
    port = free_port()
    with socket.create_server((HOST, port)):
        result = run("emulator", "--project", "demo-a", "--port", str(port))
    assert result.exit_code == 1
    assert f"Port {port} is in use" in result.stderr


def content(path: Path) -> str:
    """Return the text of a file, and an empty one as long as there is no file."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


@pytest.fixture(scope="module")
def ports() -> Ports:
    """Free ports."""
    return Ports.shifted(free_offset())


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    """Processes that end with the test."""
    supervisor = Supervisor()
    yield supervisor
    supervisor.stop()


Start = Callable[..., Process]


@pytest.fixture
def start(supervisor: Supervisor, ports: Ports, tmp_path: Path) -> Start:
    """Starts `mstoken emulator` with arguments, in a folder of its own."""

    def start_emulator(*arguments: str) -> Process:
        command = [sys.executable, "-m", "mstoken", "emulator", "--port", str(ports.signed_auth)]
        command += ["--auth", f"{HOST}:{ports.auth}", "--env-file", "env"]
        return supervisor.start(
            "emulator", [*command, *arguments], env=dict(os.environ), cwd=tmp_path, log=tmp_path / "emulator.log"
        )

    return start_emulator


@pytest.fixture
def fake_emulator(ports: Ports, tmp_path: Path) -> Callable[..., list[str]]:
    """Returns the command of a fake Auth emulator, with what it answers and its exit status."""
    script = tmp_path / "fake_emulator.py"
    script.write_text(FAKE_EMULATOR)

    def command(body: str = AUTH_EMULATOR, status: int = 0) -> list[str]:
        return [sys.executable, str(script), str(ports.auth), body, str(status)]

    return command


@pytest.mark.process
def test_it_starts_the_emulators_and_ends_with_them(
    start: Start, supervisor: Supervisor, fake_emulator: Callable[..., list[str]], ports: Ports, tmp_path: Path
) -> None:
    """It waits until the emulators are ready, writes and prints the variables, passes SIGTERM on, and ends after them.

    The exit status is that of the command.
    """
    process = start("--service", f"billing={ports.billing}", "--", *fake_emulator(status=7), "--project", "demo-shop")
    supervisor.wait_until((tmp_path / "env.billing").exists, "env.billing", WAIT_SECONDS)
    common = [f"FIREBASE_AUTH_EMULATOR_HOST={HOST}:{ports.signed_auth}", "GOOGLE_CLOUD_PROJECT=demo-shop"]
    metadata = [f"GCE_METADATA_HOST={HOST}:{ports.billing}", f"GCE_METADATA_IP={HOST}:{ports.billing}"]
    assert (tmp_path / "env").read_text().splitlines()[1:] == common
    assert (tmp_path / "env.billing").read_text().splitlines()[1:] == common + metadata
    supervisor.wait_until(partial(process.has_logged, "Wrote env.billing"), "the log", WAIT_SECONDS)
    exported = [line.removeprefix("export ") for line in process.log.read_text().splitlines() if "export " in line]
    assert [line for line in exported if "=" in line] == common + metadata
    assert httpx.get(f"http://{HOST}:{ports.signed_auth}{CERTIFICATES_PATH}", timeout=WAIT_SECONDS).is_success
    email = httpx.get(
        f"http://{HOST}:{ports.billing}{ACCOUNTS_PATH}/default/email",
        headers={"Metadata-Flavor": "Google"},
        timeout=WAIT_SECONDS,
    )
    assert email.text == email_of("billing", "demo-shop")
    process.popen.send_signal(signal.SIGTERM)
    assert process.exited.wait(WAIT_SECONDS)
    assert process.popen.returncode == 7
    assert process.log.read_text().count("got SIGTERM") == 1


@pytest.mark.process
def test_files_of_an_earlier_run_are_removed(start: Start, ports: Ports, tmp_path: Path) -> None:
    """A script that waits for `--env-file` waits for the emulators of this run."""
    for name in ("env", "env.billing"):
        (tmp_path / name).write_text(f"{ENV_FILE_HEADER}\nGOOGLE_CLOUD_PROJECT=demo-earlier\n")
    ends = [sys.executable, "-c", "raise SystemExit(3)"]
    process = start("--service", f"billing={ports.billing}", "--project", "demo-shop", "--", *ends)
    assert process.exited.wait(WAIT_SECONDS)
    assert process.popen.returncode == 3
    assert not list(tmp_path.glob("env*"))


@pytest.mark.process
def test_emulators_that_end_before_they_are_ready(start: Start, tmp_path: Path) -> None:
    """If the command ends before the emulators are ready, this command ends with the same status."""
    process = start("--project", "demo-shop", "--", sys.executable, "-c", "raise SystemExit(3)")
    assert process.exited.wait(WAIT_SECONDS)
    assert process.popen.returncode == 3
    assert not (tmp_path / "env").exists()


@pytest.mark.process
def test_running_emulators_are_waited_for(
    start: Start, supervisor: Supervisor, fake_emulator: Callable[..., list[str]], tmp_path: Path
) -> None:
    """Without a command it says what it waits for, and how to start it. An interrupt ends it with status 0."""
    process = start("--project", "demo-shop")
    supervisor.wait_until(partial(process.has_logged, "firebase emulators:start"), "the note", WAIT_SECONDS)
    assert not (tmp_path / "env").exists()
    supervisor.start("fake", fake_emulator(), env=dict(os.environ), cwd=tmp_path, log=tmp_path / "fake.log")
    supervisor.wait_until((tmp_path / "env").exists, "env", WAIT_SECONDS)
    process.popen.send_signal(signal.SIGINT)
    with pytest.raises(ProcessDied, match="ended with status 0"):
        supervisor.check(WAIT_SECONDS)
    # The file is its own, so the next run writes it again.
    again = start("--project", "demo-other")
    supervisor.wait_until(lambda: "demo-other" in content(tmp_path / "env"), "env", WAIT_SECONDS)
    again.popen.send_signal(signal.SIGTERM)
    assert again.exited.wait(WAIT_SECONDS)


@pytest.mark.process
def test_another_program_at_the_address(
    start: Start, supervisor: Supervisor, fake_emulator: Callable[..., list[str]], tmp_path: Path
) -> None:
    """If another program answers at the address, the error says so, and the command is asked to end."""
    process = start("--project", "demo-shop", "--", *fake_emulator(body="<html>hosting</html>"))
    assert process.exited.wait(WAIT_SECONDS)
    assert process.popen.returncode == 1
    log = process.log.read_text()
    assert "is not the Auth emulator: another program answers there" in log
    assert "got SIGTERM" in log


@pytest.mark.process
def test_a_missing_extra() -> None:
    """Without the extra `emulator` one sentence says how to install it."""
    code = "import sys; sys.modules['uvicorn'] = None; sys.argv = ['mstoken', 'emulator', '--project', 'demo-shop'];"
    done = subprocess.run(
        [sys.executable, "-c", f"{code} from mstoken.cli import main; main()"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "pip install 'mstoken[emulator]'" in done.stderr
    assert "Traceback" not in done.stderr
