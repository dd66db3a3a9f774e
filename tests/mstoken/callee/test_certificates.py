"""The certificate cache: warm, ahead of time, thrifty, and steady through an outage."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from google.auth import exceptions

from emulator.local.keys import CERTIFICATE_DAYS, Key
from mstoken.callee.certificates import CertificateCache, CertificateFile, Fetched, PublishedCertificates
from mstoken.errors import VerifierUnavailable
from tests.clock import FakeClock, ManualSleep

DAY_SECONDS = 86_400
HOUR_SECONDS = 3_600


@pytest.fixture(scope="module")
def keys() -> list[Key]:
    """Keys whose certificates are good for 16 days from now."""
    return [Key() for _ in range(3)]


class FakeSource:
    """Publishes the certificates of `keys`; fails while `fault` is set; holds answers back until `gate` is open."""

    def __init__(self, *keys: Key, max_age_seconds: float = HOUR_SECONDS) -> None:
        self.keys = list(keys)
        self.max_age_seconds = max_age_seconds
        self.fetches = 0
        self.fault: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self) -> Fetched:
        self.fetches += 1
        await self.gate.wait()
        if self.fault:
            raise self.fault
        return Fetched({key.key_id: key.certificate for key in self.keys}, self.max_age_seconds)


@pytest.fixture
def clock() -> FakeClock:
    """Real time at first, so that certificates made now are good."""
    return FakeClock(time.time())


def certificates(cache: CertificateCache) -> dict[str, str]:
    """What google-auth would be given: the certificates' public keys."""
    answer = cache("https://certificates")
    assert answer.status == 200
    found: dict[str, str] = json.loads(answer.data)
    return found


def public_key(key: Key) -> str:
    """The public key of a certificate, PEM."""
    encoding = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return x509.load_pem_x509_certificate(key.certificate.encode()).public_key().public_bytes(*encoding).decode()


async def test_it_is_warm_when_it_is_open(keys: list[Key]) -> None:
    """The first request finds the certificates there."""
    source = FakeSource(keys[0], keys[1])
    async with CertificateCache(source) as cache:
        cache.ready()
        assert certificates(cache) == {key.key_id: public_key(key) for key in keys[:2]}
    assert source.fetches == 1


async def test_answering_costs_no_fetch(keys: list[Key], clock: FakeClock) -> None:
    """However often google-auth asks."""
    source = FakeSource(keys[0])
    async with CertificateCache(source, clock=clock) as cache:
        for _ in range(1000):
            certificates(cache)
            await cache.know(keys[0].key_id)
    assert source.fetches == 1


async def test_it_refreshes_ahead_of_time(keys: list[Key], clock: FakeClock) -> None:
    """After three quarters of max-age, in the background, with the old certificates in use meanwhile."""
    source, sleep = FakeSource(keys[0]), ManualSleep()
    async with CertificateCache(source, clock=clock, sleep=sleep) as cache:
        while (asked := await sleep.asked_seconds.get()) == 0:
            sleep.wake()
        assert asked == pytest.approx(0.75 * HOUR_SECONDS)
        source.keys.append(keys[1])
        clock.advance(asked)
        sleep.wake()
        await sleep.asked_seconds.get()
        assert certificates(cache).keys() == {keys[0].key_id, keys[1].key_id}
    assert source.fetches == 2


async def test_an_unknown_key_is_fetched(keys: list[Key], clock: FakeClock) -> None:
    """A key without notice is found by the first token that it signed."""
    source = FakeSource(keys[0])
    async with CertificateCache(source, clock=clock) as cache:
        source.keys.append(keys[1])
        clock.advance(10)
        await cache.know(keys[1].key_id)
        assert keys[1].key_id in certificates(cache)


async def test_unknown_keys_cost_one_fetch_in_ten_seconds(keys: list[Key], clock: FakeClock) -> None:
    """However many tokens with made-up keys come."""
    source = FakeSource(keys[0])
    async with CertificateCache(source, clock=clock) as cache:
        for second in range(31):
            for number in range(20):
                await cache.know(f"made-up-{second}-{number}")
            clock.advance(1)
    assert source.fetches == 1 + 3


async def test_all_who_wait_share_one_fetch(keys: list[Key], clock: FakeClock) -> None:
    """One fetch at a time, and nobody who waits is left behind when another gives up."""
    source = FakeSource(keys[0])
    async with CertificateCache(source, clock=clock) as cache:
        source.keys.append(keys[1])
        clock.advance(10)
        source.gate.clear()
        waiting = [asyncio.create_task(cache.know(keys[1].key_id)) for _ in range(100)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        source.gate.set()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert waiting[0].cancelled()
        assert all(task.exception() is None for task in waiting[1:])
        assert keys[1].key_id in certificates(cache)
    assert source.fetches == 2


async def test_an_outage_of_hours_costs_nothing(keys: list[Key], clock: FakeClock) -> None:
    """Certificates in hand stay in use, for known keys without any waiting."""
    source, sleep = FakeSource(keys[0]), ManualSleep()
    async with CertificateCache(source, clock=clock, sleep=sleep) as cache:
        source.fault = httpx.ConnectError("Google is away")
        for _ in range(20):
            await sleep.asked_seconds.get()
            clock.advance(HOUR_SECONDS)
            sleep.wake()
            await cache.know(keys[0].key_id)
            assert certificates(cache)
        source.fault = None
        fetches = source.fetches
        while source.fetches == fetches:
            await sleep.asked_seconds.get()
            clock.advance(HOUR_SECONDS)
            sleep.wake()
        cache.ready()


async def test_retries_slow_down(keys: list[Key], clock: FakeClock) -> None:
    """From a second to a minute, with some randomness, so that a fleet does not ask in step."""
    source, sleep = FakeSource(keys[0]), ManualSleep()
    source.fault = OSError("no network")
    asked: list[float] = []
    async with CertificateCache(source, clock=clock, sleep=sleep):
        while len(asked) < 12:
            seconds = await sleep.asked_seconds.get()
            if seconds:
                asked.append(seconds)
            clock.advance(seconds)
            sleep.wake()
    assert 0.5 <= asked[0] <= 1
    assert all(30 <= seconds <= 60 for seconds in asked[7:])


async def test_certificates_end_when_they_say_so(keys: list[Key], clock: FakeClock) -> None:
    """An outage longer than their own life leaves nothing to verify with, and says so."""
    source = FakeSource(keys[0])
    async with CertificateCache(source, clock=clock) as cache:
        source.fault = OSError("no network")
        clock.advance(CERTIFICATE_DAYS * DAY_SECONDS + 1)
        with pytest.raises(VerifierUnavailable, match="no certificates"):
            cache.ready()
        with pytest.raises(exceptions.TransportError):
            cache("https://certificates")


async def test_a_start_without_network_heals_by_itself(
    keys: list[Key], clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """It opens, refuses with the reason, and works once the network is there."""
    source, sleep = FakeSource(keys[0]), ManualSleep()
    source.fault = httpx.ConnectError("no route to Google")
    async with CertificateCache(source, clock=clock, sleep=sleep) as cache:
        with pytest.raises(VerifierUnavailable, match="no route to Google"):
            cache.ready()
        with pytest.raises(VerifierUnavailable):
            await cache.know(keys[0].key_id)
        source.fault = None
        while (seconds := await sleep.asked_seconds.get()) == 0:
            sleep.wake()
        clock.advance(seconds)
        sleep.wake()
        await sleep.asked_seconds.get()
        cache.ready()
    assert "certificates could not be fetched" in caplog.messages
    assert "certificates are back" in caplog.messages


async def test_without_background_work_the_first_token_fetches(keys: list[Key]) -> None:
    """A verifier that nobody opened works all the same."""
    cache = CertificateCache(FakeSource(keys[0]))
    await cache.know(keys[0].key_id)
    assert certificates(cache)
    await cache.aclose()


async def test_a_fetch_has_a_deadline(keys: list[Key], clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    """A source that never answers is given up after 5 s (firebase-admin#711)."""
    source = FakeSource(keys[0])
    source.gate.clear()
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with CertificateCache(source, clock=clock) as cache:
        with pytest.raises(VerifierUnavailable, match="TimeoutError"):
            cache.ready()
    assert 4.5 < loop.time() - started < 10


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"kid": 7}', b'{"kid": "no certificate"}', b"<html>"])
async def test_nonsense_does_not_replace_certificates(keys: list[Key], clock: FakeClock, content: bytes) -> None:
    """What a captive portal or a broken proxy serves is a failed fetch."""
    answers: Iterator[httpx.Response] = iter(
        [httpx.Response(200, json={keys[0].key_id: keys[0].certificate}), httpx.Response(200, content=content)]
    )
    transport = httpx.MockTransport(lambda request: next(answers))
    async with CertificateCache(
        PublishedCertificates("https://certificates", transport=transport), clock=clock
    ) as cache:
        clock.advance(10)
        await cache.know("unknown")
        assert certificates(cache).keys() == {keys[0].key_id}


async def test_expired_certificates_are_no_certificates(keys: list[Key]) -> None:
    """A source that publishes only what has run out is broken."""
    late = FakeClock(time.time() + (CERTIFICATE_DAYS + 1) * DAY_SECONDS)
    async with CertificateCache(FakeSource(keys[0]), clock=late) as cache:
        with pytest.raises(VerifierUnavailable, match="expired"):
            cache.ready()


@pytest.mark.parametrize(
    ("headers", "max_age_seconds"),
    [
        ({"Cache-Control": "public, max-age=19845, must-revalidate"}, 19845),
        ({"Cache-Control": "public, max-age=19845", "Age": "845"}, 19000),
        ({"Cache-Control": "no-store"}, 0),
        ({"Cache-Control": "max-age=soon"}, 0),
        ({}, 0),
    ],
)
async def test_max_age_comes_from_the_answer(keys: list[Key], headers: dict[str, str], max_age_seconds: float) -> None:
    """`Cache-Control`, less what a cache on the way has used up of it."""
    answer = httpx.Response(200, json={keys[0].key_id: keys[0].certificate}, headers=headers)
    source = PublishedCertificates("https://certificates", transport=httpx.MockTransport(lambda request: answer))
    assert (await source.fetch()).max_age_seconds == max_age_seconds


async def test_an_error_status_is_a_failed_fetch() -> None:
    """Whatever its body holds."""
    source = PublishedCertificates("https://certificates", transport=httpx.MockTransport(lambda r: httpx.Response(500)))
    with pytest.raises(httpx.HTTPStatusError):
        await source.fetch()


async def test_certificates_from_a_file(keys: list[Key], clock: FakeClock, tmp_path: Path) -> None:
    """Where there is no way out of the network, the file is read, and read again when it was renewed."""
    path = tmp_path / "certificates.json"
    path.write_text(json.dumps({keys[0].key_id: keys[0].certificate}))
    async with CertificateCache(CertificateFile(path), clock=clock) as cache:
        assert certificates(cache).keys() == {keys[0].key_id}
        path.write_text(json.dumps({keys[1].key_id: keys[1].certificate}))
        clock.advance(10)
        await cache.know(keys[1].key_id)
        assert certificates(cache).keys() == {keys[1].key_id}
    async with CertificateCache(CertificateFile(tmp_path / "missing.json")) as cache:
        with pytest.raises(VerifierUnavailable, match=r"missing\.json"):
            cache.ready()
