"""What doctor checks about certificates and the clock."""

import json
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest

from mstoken import Settings
from mstoken.cli import certificate_checks as checks
from mstoken.cli.certificate_checks import Published
from mstoken.cli.checks import Finding
from mstoken.emulator.keys import CERTIFICATE_DAYS, Key
from tests.clock import FakeClock
from tests.mstoken.cli.setups import laptop, network, production

DAY_SECONDS = 86_400
KEY = Key()


def certificates_now(*keys: Key) -> dict[str, str]:
    return {key.key_id: key.certificate for key in keys or (KEY,)}


class TestCertificates:
    def check(self, settings: Settings, client: httpx.Client, clock: Callable[[], float]) -> Finding:
        return checks.check_certificates(settings, client, clock)[0]

    def test_certificates_are_fetched(self) -> None:
        """The finding has their number, and when the first of them expires."""
        requests = []

        def answer(request: httpx.Request) -> httpx.Response:
            requests.append(str(request.url))
            return httpx.Response(200, json=certificates_now(KEY, Key()))

        finding, published = checks.check_certificates(production(), network(answer), FakeClock(KEY_CREATED_AT))
        assert finding.state == "ok"
        assert finding.text.startswith("found 2; the first expires on 20")
        assert requests == [production().certificates_url]
        assert published is not None

    @pytest.mark.parametrize(
        ("answer", "text"),
        [
            (httpx.ConnectError("no"), "could not be reached (ConnectError)"),
            (httpx.ReadTimeout("no"), "could not be reached (ReadTimeout)"),
            (httpx.Response(404), "answered 404"),
            (httpx.Response(200, text="<html>"), "does not contain certificates in Google's format"),
            (httpx.Response(200, json={}), "does not contain certificates in Google's format"),
            (httpx.Response(200, json=["x"]), "does not contain certificates in Google's format"),
            (httpx.Response(200, json={"key": "none"}), "does not contain certificates in Google's format"),
        ],
        ids=["no route", "slow", "404", "HTML", "empty", "list", "no PEM"],
    )
    def test_certificates_cannot_be_fetched(self, answer: httpx.Response | Exception, text: str) -> None:
        """Without them no token can be verified. The finding says why, and what to do."""
        for settings in (production(), laptop()):
            finding = self.check(settings, network(answer), FakeClock())
            assert finding.state == "error"
            assert text in finding.text
            assert finding.advice

    def test_all_certificates_have_expired(self) -> None:
        """The reason may be the clock of this machine."""
        client = network(httpx.Response(200, json=certificates_now()))
        finding = self.check(production(), client, FakeClock(KEY_CREATED_AT + (CERTIFICATE_DAYS + 1) * DAY_SECONDS))
        assert (finding.state, "all 1 have expired" in finding.text) == ("error", True)

    def test_certificates_in_a_file(self, tmp_path: Path) -> None:
        """The file is read and nothing is fetched. There is a warning before the last certificate expires."""
        path = tmp_path / "certificates.json"
        settings, unused = production(certificates_file=path), network(AssertionError())
        assert self.check(settings, unused, FakeClock(KEY_CREATED_AT)).state == "error"
        path.write_text(json.dumps(certificates_now()))
        for days, state in ((0, "ok"), (CERTIFICATE_DAYS - 2, "warning"), (CERTIFICATE_DAYS + 1, "error")):
            finding, published = checks.check_certificates(
                settings, unused, FakeClock(KEY_CREATED_AT + days * DAY_SECONDS)
            )
            assert (finding.state, published) == (state, None)
        assert "Replace the file" in finding.advice


KEY_CREATED_AT = checks._expiry_times(json.dumps(certificates_now()).encode())[0] - CERTIFICATE_DAYS * DAY_SECONDS


class TestClock:
    DATE = 1_800_000_000

    def check(self, *, requested_at: float, received_at: float, **headers: str) -> Finding:
        """Check the clock with a request and a response that many seconds after the date of the response."""
        sent = {"Date": formatdate(self.DATE, usegmt=True)} | headers
        return checks.check_clock(
            Published(httpx.Response(200, headers=sent), self.DATE + requested_at, self.DATE + received_at)
        )

    @pytest.mark.parametrize(
        ("ahead_seconds", "state"),
        [(0, "ok"), (1.9, "ok"), (-1.9, "ok"), (2.1, "warning"), (-2.1, "warning"), (5.1, "error"), (-5.1, "error")],
    )
    def test_the_difference_between_the_clocks(self, ahead_seconds: float, state: str) -> None:
        """Up to 2 s are ok, and more than 5 s are an error, in both directions. Half a second is added to the date."""
        finding = self.check(requested_at=ahead_seconds + 0.5, received_at=ahead_seconds + 0.5)
        assert finding.state == state
        assert ("behind" if ahead_seconds < 0 else "ahead") in finding.text or ahead_seconds == 0
        assert f"{abs(ahead_seconds)} s" in finding.text or ahead_seconds == 0
        assert bool(finding.advice) == (state != "ok")

    def test_a_slow_response_is_not_a_clock_error(self) -> None:
        """Our time is the middle between the request and the response."""
        assert self.check(requested_at=-3.5, received_at=4.5).state == "ok"
        assert self.check(requested_at=0.5, received_at=8.5).state == "warning"

    def test_a_response_from_a_cache(self) -> None:
        """Its date is when the cache received it, `Age` seconds ago."""
        assert self.check(requested_at=1000.5, received_at=1000.5).state == "error"
        assert self.check(requested_at=1000.5, received_at=1000.5, Age="1000").state == "ok"

    def test_a_response_without_a_date(self) -> None:
        """If the clocks cannot be compared, there is a warning."""
        assert self.check(requested_at=0, received_at=0, Date="soon").state == "warning"
        assert checks.check_clock(None).state == "warning"
