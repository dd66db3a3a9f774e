"""What doctor looks at."""

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import pytest

from emulator.local.keys import CERTIFICATE_DAYS, Key
from mstoken import Settings
from mstoken.cli import checks
from mstoken.cli.checks import Finding, Published
from mstoken.cli.key_files import Kind, new_key, write_private
from mstoken.errors import SettingsError
from tests.clock import FakeClock
from tests.mstoken.test_settings import environment

DAY_SECONDS = 86_400
TOKEN_SERVICE = "https://token.example.com"
KEY = Key()


def production(**settings: Any) -> Settings:
    with environment():
        return Settings(project_id="real-shop", **settings)


def laptop(**settings: Any) -> Settings:
    with environment():
        return Settings(project_id="demo-shop", emulator_host="127.0.0.1:9100", **settings)


def network(answer: httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]) -> httpx.Client:
    """A network in which every request has this answer."""

    def answered(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else answer

    return httpx.Client(transport=httpx.MockTransport(answered))


def certificates_now(*keys: Key) -> dict[str, str]:
    return {key.key_id: key.certificate for key in keys or (KEY,)}


HOST = {"FIREBASE_AUTH_EMULATOR_HOST": "127.0.0.1:9100"}


class TestSettings:
    def test_they_can_be_read(self) -> None:
        """No error, no fault."""
        assert checks.settings_finding(None).state == "ok"

    def test_they_cannot(self) -> None:
        """The error's own text says what is wrong."""
        finding = checks.settings_finding(SettingsError("MSTOKEN_MODE is 'x': fresh is wanted."))
        assert (finding.state, finding.says) == ("fault", "MSTOKEN_MODE is 'x': fresh is wanted.")
        assert finding.do


class TestEmulator:
    @pytest.mark.parametrize(
        ("variables", "state"),
        [
            ({"GOOGLE_CLOUD_PROJECT": "real-shop"}, "ok"),
            ({**HOST, "GOOGLE_CLOUD_PROJECT": "demo-shop"}, "ok"),
            ({**HOST, "GOOGLE_CLOUD_PROJECT": "real-shop"}, "fault"),
            (HOST, "fault"),
            ({**HOST, "GOOGLE_CLOUD_PROJECT": "demo-shop", "K_SERVICE": "product"}, "fault"),
            (
                {**HOST, "GOOGLE_CLOUD_PROJECT": "demo-shop", "K_SERVICE": "token", "FUNCTIONS_EMULATOR": "true"},
                "ok",
            ),
        ],
    )
    def test_where_it_is_set(self, variables: Mapping[str, str], state: str) -> None:
        """The variable is a fault for a project that may be real, and on Cloud Run for any; not on a laptop."""
        finding = checks.check_emulator(variables)
        assert finding.state == state
        assert ("Unset FIREBASE_AUTH_EMULATOR_HOST" in finding.do) == (state == "fault")


class TestCertificates:
    def check(self, settings: Settings, client: httpx.Client, clock: Callable[[], float]) -> Finding:
        return checks.check_certificates(settings, client, clock)[0]

    def test_they_are_there(self) -> None:
        """Their number, and when the first of them expires."""
        asked = []

        def answer(request: httpx.Request) -> httpx.Response:
            asked.append(str(request.url))
            return httpx.Response(200, json=certificates_now(KEY, Key()))

        finding, published = checks.check_certificates(production(), network(answer), FakeClock(KEY_MADE_AT))
        assert finding.state == "ok"
        assert finding.says.startswith("2, the first expires on 20")
        assert asked == [production().certificates_url]
        assert published is not None

    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            (httpx.ConnectError("no"), "could not be reached (ConnectError)"),
            (httpx.ReadTimeout("no"), "could not be reached (ReadTimeout)"),
            (httpx.Response(404), "answered 404"),
            (httpx.Response(200, text="<html>"), "has no certificates in Google's format"),
            (httpx.Response(200, json={}), "has no certificates in Google's format"),
            (httpx.Response(200, json=["x"]), "has no certificates in Google's format"),
            (httpx.Response(200, json={"key": "none"}), "has no certificates in Google's format"),
        ],
        ids=["no route", "slow", "404", "HTML", "empty", "list", "no PEM"],
    )
    def test_they_are_not(self, answer: httpx.Response | Exception, said: str) -> None:
        """Without them no token can be verified; it is said why, and what to do."""
        for settings in (production(), laptop()):
            finding = self.check(settings, network(answer), FakeClock())
            assert finding.state == "fault"
            assert said in finding.says
            assert finding.do

    def test_they_have_all_expired(self) -> None:
        """Which may be the clock's fault."""
        client = network(httpx.Response(200, json=certificates_now()))
        finding = self.check(production(), client, FakeClock(KEY_MADE_AT + (CERTIFICATE_DAYS + 1) * DAY_SECONDS))
        assert (finding.state, "all 1 have expired" in finding.says) == ("fault", True)

    def test_in_a_file(self, tmp_path: Path) -> None:
        """Nothing is fetched then; the file is read, and there is a warning before its last one expires."""
        path = tmp_path / "certificates.json"
        settings, nobody = production(certificates_file=path), network(AssertionError())
        assert self.check(settings, nobody, FakeClock(KEY_MADE_AT)).state == "fault"
        path.write_text(json.dumps(certificates_now()))
        for days, state in ((0, "ok"), (CERTIFICATE_DAYS - 2, "warning"), (CERTIFICATE_DAYS + 1, "fault")):
            finding, published = checks.check_certificates(
                settings, nobody, FakeClock(KEY_MADE_AT + days * DAY_SECONDS)
            )
            assert (finding.state, published) == (state, None)
        assert "Renew the file" in finding.do


KEY_MADE_AT = checks._ends(json.dumps(certificates_now()).encode())[0] - CERTIFICATE_DAYS * DAY_SECONDS


class TestClock:
    DATE = 1_800_000_000

    def check(self, *, asked_at: float, came_at: float, **headers: str) -> Finding:
        """What is found where the answer was asked for and came so many seconds after its date."""
        sent = {"Date": formatdate(self.DATE, usegmt=True)} | headers
        return checks.check_clock(
            Published(httpx.Response(200, headers=sent), self.DATE + asked_at, self.DATE + came_at)
        )

    @pytest.mark.parametrize(
        ("ahead_seconds", "state"),
        [(0, "ok"), (1.9, "ok"), (-1.9, "ok"), (2.1, "warning"), (-2.1, "warning"), (5.1, "fault"), (-5.1, "fault")],
    )
    def test_how_far_apart(self, ahead_seconds: float, state: str) -> None:
        """Up to 2 s are fine and beyond 5 s are a fault, either way. A date has whole seconds: half of one is added."""
        finding = self.check(asked_at=ahead_seconds + 0.5, came_at=ahead_seconds + 0.5)
        assert finding.state == state
        assert ("behind" if ahead_seconds < 0 else "ahead") in finding.says or ahead_seconds == 0
        assert f"{abs(ahead_seconds)} s" in finding.says or ahead_seconds == 0
        assert bool(finding.do) == (state != "ok")

    def test_half_of_the_way_is_taken_off(self) -> None:
        """A slow answer is no wrong clock."""
        assert self.check(asked_at=-3.5, came_at=4.5).state == "ok"
        assert self.check(asked_at=0.5, came_at=8.5).state == "warning"

    def test_answers_from_a_cache(self) -> None:
        """Their date is of when the cache got them, `Age` seconds ago."""
        assert self.check(asked_at=1000.5, came_at=1000.5).state == "fault"
        assert self.check(asked_at=1000.5, came_at=1000.5, Age="1000").state == "ok"

    def test_no_date(self) -> None:
        """What cannot be compared is a warning."""
        assert self.check(asked_at=0, came_at=0, Date="soon").state == "warning"
        assert checks.check_clock(None).state == "warning"


class TestReplayStore:
    def check(self, url: str, settings: Callable[..., Settings] = laptop, **variables: str) -> Finding:
        with environment(**variables):
            return checks.check_replay_store(settings(replay_url=url), "test-doctor")

    def test_a_file(self, tmp_path: Path) -> None:
        """It is fine where an id can be spent in it."""
        finding = self.check(f"sqlite:///{tmp_path}/spent.db", production)
        assert (finding.state, finding.says) == ("ok", f"{tmp_path}/spent.db: an id was spent, once")

    def test_a_file_that_cannot_be_written(self, tmp_path: Path) -> None:
        """A fault, also where it is only found when something is spent."""
        (tmp_path / "file").write_text("")
        for path in (f"{tmp_path}/file/spent.db", str(tmp_path)):
            finding = self.check(f"sqlite:///{path}")
            assert (finding.state, "sqlite:////absolute/path" in finding.do) == ("fault", True)

    def test_a_file_that_forgets(self, tmp_path: Path) -> None:
        """A store in which an id can be spent twice is a fault, though all its answers are fine."""
        with closing(sqlite3.connect(tmp_path / "spent.db")) as file:
            file.execute("CREATE TABLE spent (id BLOB PRIMARY KEY, expires_at INTEGER NOT NULL) WITHOUT ROWID")
            file.execute("CREATE TRIGGER forget AFTER INSERT ON spent BEGIN DELETE FROM spent; END")
        finding = self.check(f"sqlite:///{tmp_path}/spent.db")
        assert (finding.state, "does not remember" in finding.says) == ("fault", True)

    def test_a_file_from_the_folder_that_one_is_in(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Fine on a laptop; in production another folder would be another file."""
        monkeypatch.chdir(tmp_path)
        assert self.check("sqlite:///spent.db").state == "ok"
        finding = self.check("sqlite:///spent.db", production)
        assert (finding.state, str(tmp_path) in finding.says) == ("warning", True)

    def test_a_file_on_cloud_run(self, tmp_path: Path) -> None:
        """Every instance has its own."""
        finding = self.check(f"sqlite:///{tmp_path}/spent.db", production, K_SERVICE="product")
        assert (finding.state, "redis://" in finding.do) == ("warning", True)

    def test_memory(self) -> None:
        """For a single process only, so there is a warning."""
        assert self.check("memory:").state == "warning"

    def test_a_redis_that_does_not_answer(self) -> None:
        """A fault, without the password that stands in its address."""
        finding = self.check("redis://shop:s3cret@127.0.0.1:1/0")
        assert finding.state == "fault"
        assert "s3cret" not in f"{finding.says}{finding.do}"

    @pytest.mark.parametrize(
        "url",
        ["mysql://shop:s3cret@host", "redis://:s3cret#more@host", "redis://:pa:s3cret@host", "redis://h:s3cret@h:x"],
    )
    def test_no_address_of_a_store(self, url: str) -> None:
        """A fault, and no piece of a password is repeated, wherever an odd character has cut it."""
        finding = self.check(url)
        assert finding.state == "fault"
        assert "s3cret" not in f"{finding.says}{finding.do}"


class TestApiKey:
    def error(self, status: int, message: str) -> httpx.Response:
        return httpx.Response(status, json={"error": {"code": status, "message": message}})

    def test_firebase_takes_it(self) -> None:
        """An invalid custom token is refused for being one only after the key was found good."""
        asked = []

        def answer(request: httpx.Request) -> httpx.Response:
            asked.append((request.url.host, request.url.params["key"], json.loads(request.content)["token"]))
            return self.error(400, "INVALID_CUSTOM_TOKEN : Invalid assertion format.")

        assert checks.check_api_key(production(api_key="web-key"), network(answer)).state == "ok"
        assert asked == [("identitytoolkit.googleapis.com", "web-key", "not-a-token")]

    @pytest.mark.parametrize(
        ("status", "message", "state", "do"),
        [
            (400, "API key not valid. Please pass a valid API key.", "fault", "Set MSTOKEN_API_KEY to another"),
            (400, "API_KEY_INVALID", "fault", "Set MSTOKEN_API_KEY to another"),
            (403, "Requests from referer <empty> are blocked.", "fault", "Identity Toolkit API"),
            (400, "CONFIGURATION_NOT_FOUND", "fault", "Switch on Authentication"),
            (400, "TOKEN_EXPIRED", "fault", "Set MSTOKEN_API_KEY to another"),
            (404, "Not Found", "fault", "Set MSTOKEN_API_KEY to another"),
            (429, "TOO_MANY_ATTEMPTS", "warning", "Try again later"),
            (503, "backend error", "warning", "Try again later"),
            (200, "", "fault", "Set MSTOKEN_API_KEY to another"),
        ],
    )
    def test_it_does_not(self, status: int, message: str, state: str, do: str) -> None:
        """Firebase's answer is told, and what to do about it."""
        finding = checks.check_api_key(production(api_key="web-key"), network(self.error(status, message)))
        assert (finding.state, str(status) in finding.says, do in finding.do) == (state, True, True)

    def test_the_key_is_not_repeated(self) -> None:
        """Not even where the answer does."""
        answers = (self.error(400, "key web-key is bad"), httpx.ConnectError("https://x/?key=web-key"))
        for answer in answers:
            finding = checks.check_api_key(production(api_key="web-key"), network(answer))
            assert finding.state == "fault"
            assert "web-key" not in f"{finding.says}{finding.do}"

    def test_none(self) -> None:
        """Only callers need one, so it is a warning; on the emulator nobody does."""
        nobody = network(AssertionError())
        assert checks.check_api_key(production(), nobody).state == "warning"
        assert checks.check_api_key(laptop(), nobody).state == "ok"


class TestTokenService:
    def check(self, answer: httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]) -> Finding:
        return checks.check_token_service(production(token_service_url=TOKEN_SERVICE), network(answer))

    def test_it_wants_a_credential(self) -> None:
        """A POST without one is refused with just that code."""
        asked = []

        def answer(request: httpx.Request) -> httpx.Response:
            asked.append((request.method, str(request.url).rstrip("/"), request.headers.get("Authorization")))
            return httpx.Response(401, json={"code": "credential_missing"})

        assert self.check(answer).state == "ok"
        assert asked == [("POST", TOKEN_SERVICE, None)]

    @pytest.mark.parametrize(
        ("answer", "do"),
        [
            (httpx.ConnectError("no"), "deployed"),
            (httpx.Response(401, text="Unauthorized"), "Let everybody invoke the function"),
            (httpx.Response(403, text="<html>"), "Let everybody invoke the function"),
            (httpx.Response(404), "that of the function token"),
            (httpx.Response(200, json={"custom_token": "x"}), "that of the function token"),
            (httpx.Response(503, json={"code": "verifier_unavailable"}), "log"),
        ],
    )
    def test_something_else_is_there(self, answer: httpx.Response | Exception, do: str) -> None:
        """Any other answer is a fault, and each has something to do about it."""
        finding = self.check(answer)
        assert (finding.state, do in finding.do) == ("fault", True)

    def test_none(self) -> None:
        """In production a warning, since who signs custom tokens may be anybody; fine on a laptop."""
        nobody = network(AssertionError())
        assert checks.check_token_service(production(), nobody).state == "warning"
        assert checks.check_token_service(laptop(), nobody).state == "ok"


class TestCredential:
    def check(self, settings: Settings, **variables: str) -> Finding:
        return checks.check_credential(settings, "warehouse", variables)

    def test_a_private_key(self, tmp_path: Path) -> None:
        """It must be readable, and is better readable for nobody else."""
        path = tmp_path / "key.pem"
        settings = production(token_service_url=TOKEN_SERVICE, private_key_file=path)
        assert self.check(settings).state == "fault"
        write_private(path, new_key(Kind.ES256))
        assert self.check(settings).state == "ok"
        for mode in (0o640, 0o604):
            path.chmod(mode)
            finding = self.check(settings)
            assert (finding.state, finding.do) == ("warning", f"chmod 600 {path}")
        path.write_text("-----BEGIN PRIVATE KEY-----\ns3cret\n")
        finding = self.check(settings)
        assert (finding.state, "s3cret" in finding.says) == ("fault", False)

    def test_a_file_of_google(self, tmp_path: Path) -> None:
        """Only a service account's gives identity tokens; others do where custom tokens are signed here."""
        path = tmp_path / "credentials.json"
        with_service, without = production(token_service_url=TOKEN_SERVICE), production()
        variables = {"GOOGLE_APPLICATION_CREDENTIALS": str(path)}
        assert self.check(with_service, **variables).state == "fault"
        for content, states in (
            ({"type": "service_account", "private_key": "s3cret"}, ("ok", "ok")),
            ({"type": "authorized_user"}, ("fault", "ok")),
            ({}, ("fault", "fault")),
            ([], ("fault", "fault")),
        ):
            path.write_text(json.dumps(content))
            findings = [self.check(settings, **variables) for settings in (with_service, without)]
            assert tuple(finding.state for finding in findings) == states
            assert not any("s3cret" in finding.says for finding in findings)
        path.write_text("{")
        assert self.check(without, **variables).state == "fault"

    def test_the_metadata_server(self) -> None:
        """There is one on Google Cloud, and one that is played on a laptop; nobody is asked for a token."""
        settings = production(token_service_url=TOKEN_SERVICE)
        assert self.check(settings, K_SERVICE="product").state == "ok"
        elsewhere = self.check(settings)
        assert (elsewhere.state, "mstoken keys add" in elsewhere.do) == ("warning", True)
        assert self.check(laptop()).state == "ok"
        emulated = self.check(laptop(token_service_url="http://127.0.0.1:5001/token", metadata_host="127.0.0.1:9103"))
        assert (emulated.state, "127.0.0.1:9103" in emulated.says) == ("ok", True)


def test_base_url() -> None:
    """Without one a callee cannot check proofs, which is a warning."""
    missing = checks.check_base_url(production())
    assert (missing.state, "503" in missing.says) == ("warning", True)
    assert checks.check_base_url(production(base_url="https://product.example.com")).state == "ok"
