"""The section about calling: what stands in for Firebase, and what is counted."""

from pathlib import Path

import httpx
import pytest

from bench import calling
from bench.calling import AT_ONCE, FRESH, NOTHING, PROOF, QUOTA_HOURS, SIGN_INS, FarFirebase, Observed, measurements_of
from bench.issuer import Issuer
from bench.results import CPU, ERRORS, P50, P999, Measurement

REQUEST = httpx.Request("POST", "https://identitytoolkit.googleapis.com/v1/accounts:signInWithCustomToken")


class TestFarFirebase:
    async def test_it_refuses_what_is_above_the_quota_of_a_minute(self) -> None:
        """It answers as Firebase does, and counts the minute that has passed."""
        now = [0.0]
        firebase = FarFirebase(seconds=0, sign_ins_a_minute=2, clock=lambda: now[0])
        for _ in range(2):
            assert (await firebase.handle_async_request(REQUEST)).json()["idToken"]
        refused = await firebase.handle_async_request(REQUEST)
        assert (refused.status_code, refused.json()["error"]["message"]) == (400, "QUOTA_EXCEEDED")
        now[0] = 60.0
        assert (await firebase.handle_async_request(REQUEST)).is_success
        assert firebase.sign_ins == 3


class TestMeasurements:
    OBSERVED = Observed(
        waits=[[0.0001, 0.0002, 0.12], [0.0003]], cpu=[0.003, 0.001], sign_ins=10, failed=1, seconds=20.0
    )
    NOTHING_ADDED = Observed(waits=[[0.0] * 2, [0.0] * 4], cpu=[0.0004, 0.0004], sign_ins=0, failed=0, seconds=20.0)

    def found(self, rate: float) -> dict[str, Measurement]:
        return {each.quantity: each for each in measurements_of(FRESH, rate, self.OBSERVED, self.NOTHING_ADDED)}

    def test_waits_are_told_in_milliseconds(self) -> None:
        """The median is that of each window; the longest waits are those of all windows together."""
        found = self.found(50.0)
        assert found[P50].values == pytest.approx([0.2, 0.3])
        assert found[P999].values == [120.0]
        assert found[AT_ONCE].values == [75.0]
        assert {each.at for each in found.values()} == {50.0}

    def test_sign_ins_are_compared_with_the_quota_of_a_day(self) -> None:
        """Half a sign-in a second is 30 a minute, and ten million last 231 days."""
        found = self.found(50.0)
        assert found[SIGN_INS].values == [30.0]
        assert found[QUOTA_HOURS].values == pytest.approx([5_555.6], rel=1e-4)
        assert found[ERRORS].values == [20.0]

    def test_processor_time_is_what_is_added(self) -> None:
        """The time of calls without authentication is subtracted, and only where a case runs by itself."""
        assert CPU not in self.found(50.0)
        assert self.found(500.0)[CPU].values == pytest.approx([900.0, 900.0])

    def test_calls_without_authentication_are_only_a_floor(self) -> None:
        """They are in no table."""
        assert measurements_of(NOTHING, 50.0, self.NOTHING_ADDED, self.NOTHING_ADDED) == []


class TestWays:
    @pytest.mark.parametrize("case", calling.CASES)
    async def test_each_case_puts_its_token_on_a_request(self, case: str, tmp_path: Path) -> None:
        """The real code of each way runs against the far Firebase, which is near here."""
        request = httpx.Request("GET", calling.URL)
        with Issuer().credentials(tmp_path):
            async with calling.way(case, seconds=0.0) as way:
                await way.authenticate(request)
        assert {
            NOTHING: set[str](),
            PROOF: {"x-ms-token", "dpop"},
            calling.GOOGLE: {"authorization"},
        }.get(case, {"x-ms-token"}) <= set(request.headers)
        assert ("dpop" in request.headers) == (case == PROOF)
