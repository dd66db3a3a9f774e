"""The environments of the processes of a stack, and what it says if a program is missing."""

from pathlib import Path

import pytest

from emulator.run.errors import RunnerError
from emulator.run.ports import Ports
from emulator.run.processes import Supervisor
from emulator.run.stack import Stack, delete_proxies, use_no_proxy
from emulator.runner import use_emulator
from tests.recording_proxy import VARIABLES

NO_PROXY = {"NO_PROXY": "*", "no_proxy": "*"}


@pytest.mark.parametrize("exceptions", [{}, {"NO_PROXY": "localhost", "no_proxy": ".example.com"}], ids=["no", "some"])
def test_processes_of_a_stack_use_no_proxy(exceptions: dict[str, str]) -> None:
    """No variable for a proxy is left, for Python or Node.js, in upper or lower case. NO_PROXY turns off the rest."""
    environment = dict.fromkeys(VARIABLES, "http://proxy.example.com:3128") | {"PATH": "/bin"} | exceptions
    use_no_proxy(environment)
    assert environment == {"PATH": "/bin"} | NO_PROXY


def test_other_variables_stay() -> None:
    """A variable that only looks like one of a proxy is left alone."""
    environment = {"TRUSTED_PROXIES": "10.0.0.1", "PROXYCHAINS_CONF_FILE": "x"}
    delete_proxies(environment)
    assert environment == {"TRUSTED_PROXIES": "10.0.0.1", "PROXYCHAINS_CONF_FILE": "x"}


def test_the_runner_itself_uses_no_proxy(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The process that starts the stack calls the services too, so it changes its own environment."""
    environment = {"http_proxy": "http://proxy.example.com:3128"}
    monkeypatch.setattr("os.environ", environment)
    use_emulator(Stack(Ports(), tmp_path_factory.getbasetemp()))
    assert environment == {"FIREBASE_AUTH_EMULATOR_HOST": "127.0.0.1:9100"} | NO_PROXY


def test_a_missing_redis_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without redis-server, the error says what to install, and how to do without."""
    monkeypatch.setenv("PATH", str(tmp_path))
    supervisor = Supervisor()
    with pytest.raises(RunnerError, match=r"redis-server is not installed \(Debian: apt install .*Run without --redis"):
        Stack(Ports(), tmp_path, redis=True).start_redis(supervisor)
    assert supervisor.processes == []
