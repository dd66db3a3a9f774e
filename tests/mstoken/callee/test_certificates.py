"""The certificate cache answers from memory, refreshes ahead of time, fetches seldom, and outlasts outages."""

import asyncio
import datetime
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from google.auth import exceptions

from mstoken.callee.certificates import (
    FETCH_TIMEOUT_SECONDS,
    CertificateCache,
    CertificateFile,
    Fetched,
    PublishedCertificates,
)
from mstoken.emulator.keys import CERTIFICATE_DAYS, Key
from mstoken.errors import VerifierUnavailable
from tests.clock import FakeClock, ManualSleep, SkippingSleep
from tests.elsewhere import in_own_loop

DAY_SECONDS = 86_400
HOUR_SECONDS = 3_600


@pytest.fixture(scope="module")
def keys() -> list[Key]:
    """Keys whose certificates are valid for 16 days from now."""
    return [Key() for _ in range(3)]


class FakeSource:
    """Publishes the certificates of `keys`, and those in `more`.

    Raises `error` if it is set. Answers only while `gate` is open.
    """

    def __init__(self, *keys: Key, max_age_seconds: float = HOUR_SECONDS) -> None:
        self.keys = list(keys)
        self.max_age_seconds = max_age_seconds
        self.more: dict[str, str] = {}
        self.fetches = 0
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self) -> Fetched:
        self.fetches += 1
        await self.gate.wait()
        if self.error:
            raise self.error.with_traceback(None)  # otherwise the traceback grows with each fetch
        return Fetched({key.key_id: key.certificate for key in self.keys} | self.more, self.max_age_seconds)


class RecoveringSource(FakeSource):
    """Raises `error` until its clock has reached `recovers_at`."""

    def __init__(self, *keys: Key, error: Exception, clock: FakeClock, recovers_at: float) -> None:
        super().__init__(*keys)
        self.error = error
        self._clock = clock
        self._recovers_at = recovers_at

    async def fetch(self) -> Fetched:
        if self._clock.now >= self._recovers_at:
            self.error = None
        return await super().fetch()


@pytest.fixture
def clock() -> FakeClock:
    """A clock that begins at the real time, so that certificates made now are valid."""
    return FakeClock(time.time())


def certificates(cache: CertificateCache) -> dict[str, str]:
    """Return what google-auth would get from the cache: the public keys of the certificates, by key id."""
    answer = cache("https://certificates")
    assert answer.status == 200
    found: dict[str, str] = json.loads(answer.data)
    return found


def public_key(key: Key) -> str:
    """Return the public key of a certificate, in PEM."""
    encoding = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return x509.load_pem_x509_certificate(key.certificate.encode()).public_key().public_bytes(*encoding).decode()


async def test_an_open_cache_has_the_certificates(keys: list[Key]) -> None:
    """The certificates are in memory before the first request."""
    source = FakeSource(keys[0], keys[1])
    async with CertificateCache(source) as cache:
        cache.ready()
        assert certificates(cache) == {key.key_id: public_key(key) for key in keys[:2]}
    assert source.fetches == 1


async def test_requests_are_answered_from_memory(keys: list[Key], clock: FakeClock) -> None:
    """A thousand requests from google-auth cause no fetch."""
    source = FakeSource(keys[0])
    async with CertificateCache(source, clock=clock) as cache:
        for _ in range(1000):
            certificates(cache)
            await cache.ensure_key(keys[0].key_id)
    assert source.fetches == 1


async def test_certificates_are_refreshed_ahead_of_time(keys: list[Key], clock: FakeClock) -> None:
    """They are fetched again after three quarters of max-age, in the background; the old ones stay in use meanwhile."""
    source, sleep = FakeSource(keys[0]), ManualSleep()
    async with CertificateCache(source, clock=clock, sleep=sleep) as cache:
        seconds = await sleep.asked_seconds.get()
        assert seconds == pytest.approx(0.75 * HOUR_SECONDS)
        source.keys.append(keys[1])
        clock.advance(seconds)
        sleep.wake()
        await sleep.asked_seconds.get()
        assert certificates(cache).keys() == {keys[0].key_id, keys[1].key_id}
    assert source.fetches == 2


async def test_an_unknown_key_is_fetched(keys: list[Key], clock: FakeClock) -> None:
    """A key that was published without notice is found by the first token that it signed, also just after the start."""
    source = FakeSource(keys[0])
    async with CertificateCache(source, clock=clock) as cache:
        source.keys.append(keys[1])
        await cache.ensure_key(keys[1].key_id)
        assert keys[1].key_id in certificates(cache)


async def test_unknown_keys_cause_at_most_one_fetch_in_ten_seconds(keys: list[Key], clock: FakeClock) -> None:
    """The number of tokens with made-up key ids makes no difference."""
    source = FakeSource(keys[0])
    async with CertificateCache(source, clock=clock) as cache:
        for second in range(31):
            for number in range(20):
                await cache.ensure_key(f"made-up-{second}-{number}")
            clock.advance(1)
    assert source.fetches == 1 + 4, "one when it was opened, and one in each ten seconds that have begun"


async def test_a_clock_that_is_set_back_delays_no_fetch_for_an_unknown_key(keys: list[Key], clock: FakeClock) -> None:
    """After a fetch for a made-up key and a correction of the clock by an hour, a new key is found at once."""
    source = FakeSource(keys[0])
    async with CertificateCache(source, clock=clock) as cache:
        await cache.ensure_key("made-up")
        clock.advance(-HOUR_SECONDS)
        source.keys.append(keys[1])
        await cache.ensure_key(keys[1].key_id)
        assert keys[1].key_id in certificates(cache)


async def test_a_clock_that_is_set_back_delays_no_first_fetch(keys: list[Key], clock: FakeClock) -> None:
    """Without certificates, the next token causes a fetch, whatever time the last one seems to be from."""
    source = FakeSource(keys[0])
    source.error = OSError("no network")
    cache = CertificateCache(source, clock=clock)
    with pytest.raises(VerifierUnavailable):
        await cache.ensure_key(keys[0].key_id)
    clock.advance(-HOUR_SECONDS)
    source.error = None
    await cache.ensure_key(keys[0].key_id)
    assert keys[0].key_id in certificates(cache)
    await cache.aclose()


async def test_requests_that_wait_share_one_fetch(keys: list[Key], clock: FakeClock) -> None:
    """There is one fetch at a time, and cancelling one request that waits for it does not affect the others."""
    source = FakeSource(keys[0])
    async with CertificateCache(source, clock=clock) as cache:
        source.keys.append(keys[1])
        clock.advance(10)
        source.gate.clear()
        waiting = [asyncio.create_task(cache.ensure_key(keys[1].key_id)) for _ in range(100)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        source.gate.set()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert waiting[0].cancelled()
        assert all(task.exception() is None for task in waiting[1:])
        assert keys[1].key_id in certificates(cache)
    assert source.fetches == 2


async def test_during_an_outage_of_hours_the_certificates_stay_in_use(keys: list[Key], clock: FakeClock) -> None:
    """Tokens with known keys are verified, without any waiting, and the refreshing goes on after the outage."""
    source, sleep = FakeSource(keys[0]), ManualSleep()
    async with CertificateCache(source, clock=clock, sleep=sleep) as cache:
        source.error = httpx.ConnectError("Google is down")
        for _ in range(20):
            await sleep.asked_seconds.get()
            clock.advance(HOUR_SECONDS)
            sleep.wake()
            await cache.ensure_key(keys[0].key_id)
            assert certificates(cache)
        source.error = None
        fetches = source.fetches
        while source.fetches == fetches:
            await sleep.asked_seconds.get()
            clock.advance(HOUR_SECONDS)
            sleep.wake()
        cache.ready()


@pytest.mark.parametrize("error", [httpx.ConnectError("Google is down"), ZeroDivisionError("a defect")])
async def test_after_an_outage_of_days_the_certificates_are_fetched_again(
    keys: list[Key], clock: FakeClock, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """More than a thousand failed fetches, for whatever reason, do not end the refreshing: 2.0 ** 1024 is too large."""
    recovers_at = clock.now + DAY_SECONDS
    source = RecoveringSource(keys[0], error=error, clock=clock, recovers_at=recovers_at)
    sleep = SkippingSleep(clock, recovers_at + 60)
    async with CertificateCache(source, clock=clock, sleep=sleep) as cache:
        with pytest.raises(VerifierUnavailable):
            cache.ready()
        async with asyncio.timeout(20):
            await sleep.has_reached_end.wait()
        cache.ready()
    assert source.fetches > 1_100
    assert "certificates were not refreshed" not in caplog.messages


async def test_a_defect_in_a_fetch_is_logged_with_its_traceback(
    keys: list[Key], caplog: pytest.LogCaptureFixture
) -> None:
    """A request that waits for this fetch is refused with 503, as in an outage."""
    source = FakeSource(keys[0])
    source.error = ZeroDivisionError("a defect")
    async with CertificateCache(source) as cache:
        with pytest.raises(VerifierUnavailable, match="a defect"):
            await cache.ensure_key(keys[0].key_id)
    assert "Traceback" in caplog.text


async def test_the_pauses_between_failed_fetches_grow(keys: list[Key], clock: FakeClock) -> None:
    """They grow from a second to a minute, with some randomness, so that many processes do not fetch in step."""
    source, sleep = FakeSource(keys[0]), ManualSleep()
    source.error = OSError("no network")
    pauses: list[float] = []
    async with CertificateCache(source, clock=clock, sleep=sleep):
        while len(pauses) < 12:
            pauses.append(await sleep.asked_seconds.get())
            clock.advance(pauses[-1])
            sleep.wake()
    assert 0.5 <= pauses[0] <= 1
    assert all(30 <= seconds <= 60 for seconds in pauses[7:])


async def test_expired_certificates_are_dropped(keys: list[Key], clock: FakeClock) -> None:
    """If an outage lasts until the certificates in memory expire, no token is verified any more."""
    source = FakeSource(keys[0])
    async with CertificateCache(source, clock=clock) as cache:
        source.error = OSError("no network")
        clock.advance(CERTIFICATE_DAYS * DAY_SECONDS + 1)
        with pytest.raises(VerifierUnavailable, match="No certificates"):
            cache.ready()
        with pytest.raises(exceptions.TransportError):
            cache("https://certificates")


async def test_a_start_without_network_recovers(
    keys: list[Key], clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The cache opens, refuses with the reason, and works as soon as the network does."""
    source, sleep = FakeSource(keys[0]), ManualSleep()
    source.error = httpx.ConnectError("no route to Google")
    async with CertificateCache(source, clock=clock, sleep=sleep) as cache:
        with pytest.raises(VerifierUnavailable, match="no route to Google"):
            cache.ready()
        with pytest.raises(VerifierUnavailable):
            await cache.ensure_key(keys[0].key_id)
        source.error = None
        clock.advance(await sleep.asked_seconds.get())
        sleep.wake()
        await sleep.asked_seconds.get()
        cache.ready()
    failed, back = caplog.messages[0], caplog.messages[-1]
    assert failed == (
        "certificates could not be fetched: ConnectError: no route to Google; failures in a row: 1, loaded: 0"
    )
    assert back == f"certificates are back after {len(caplog.messages) - 1} failed fetches"
    assert [vars(record)["event"] for record in (caplog.records[0], caplog.records[-1])] == [
        "certificates could not be fetched",
        "certificates are back",
    ]


async def test_without_background_work_the_first_token_causes_a_fetch(keys: list[Key]) -> None:
    """A cache that was never opened fetches the certificates when it needs them."""
    cache = CertificateCache(FakeSource(keys[0]))
    await cache.ensure_key(keys[0].key_id)
    assert certificates(cache)
    await cache.aclose()


async def test_calls_start_the_refreshes_that_no_background_work_makes(keys: list[Key], clock: FakeClock) -> None:
    """After the end of the loop that opened the cache, as after a fork, a key that Google withdraws is not kept on."""
    source = FakeSource(keys[0], keys[1])
    cache = CertificateCache(source, clock=clock)
    await in_own_loop(cache.open)
    del source.keys[1]
    await cache.ensure_key(keys[1].key_id)
    assert source.fetches == 1
    clock.advance(0.75 * HOUR_SECONDS)
    await cache.ensure_key(keys[1].key_id)
    await cache.ensure_key(keys[0].key_id)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert source.fetches == 2
    assert certificates(cache).keys() == {keys[0].key_id}
    await cache.aclose()


class NoticedClock(FakeClock):
    """Sets `is_waiting` when another thread asks for the time to find out how long it may wait for a fetch."""

    def __init__(self) -> None:
        super().__init__(time.time())
        self.is_waiting = threading.Event()
        self._thread = threading.get_ident()
        self._asked = 0

    def __call__(self) -> float:
        if threading.get_ident() != self._thread:
            self._asked += 1  # What is still valid? May it fetch? How long may it wait?
            if self._asked == 3:
                self.is_waiting.set()
        return super().__call__()


@pytest.mark.parametrize("is_loaded", [False, True])
async def test_another_loop_waits_for_a_fetch_that_is_about_to_begin(keys: list[Key], *, is_loaded: bool) -> None:
    """A call must not be refused because another event loop has begun to fetch the key at this very moment."""
    source, clock = FakeSource(keys[0]), NoticedClock()
    cache = CertificateCache(source, clock=clock)
    if is_loaded:
        await cache.ensure_key(keys[0].key_id)
        clock.advance(10)
    source.keys.append(keys[1])
    fetches = source.fetches

    async def ask() -> bool:
        await cache.ensure_key(keys[1].key_id)
        return keys[1].key_id in cache.public_keys()

    with ThreadPoolExecutor(1) as other_thread:
        asking = asyncio.create_task(ask())
        await asyncio.sleep(0)  # It has decided to fetch. This event loop stands still before the fetch begins.
        assert source.fetches == fetches
        asking_too = other_thread.submit(lambda: asyncio.run(ask()))
        assert clock.is_waiting.wait(60)
        assert [await asking, await asyncio.wrap_future(asking_too)] == [True, True]
    assert source.fetches == fetches + 1
    await cache.aclose()


async def test_a_fetch_has_a_time_limit(keys: list[Key]) -> None:
    """A source that never answers is given up (firebase-admin#711): after 5 s, unless told otherwise."""
    source = FakeSource(keys[0])
    source.gate.clear()
    async with CertificateCache(source, fetch_timeout_seconds=0.01) as cache:
        with pytest.raises(VerifierUnavailable, match="TimeoutError"):
            cache.ready()
    assert FETCH_TIMEOUT_SECONDS == 5


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"kid": 7}', b'{"kid": "no certificate"}', b"<html>"])
async def test_an_unreadable_answer_does_not_replace_the_certificates(
    keys: list[Key], clock: FakeClock, content: bytes
) -> None:
    """What a captive portal or a broken proxy answers is a failed fetch."""
    answers: Iterator[httpx.Response] = iter(
        [httpx.Response(200, json={keys[0].key_id: keys[0].certificate}), httpx.Response(200, content=content)]
    )
    transport = httpx.MockTransport(lambda request: next(answers))
    async with CertificateCache(
        PublishedCertificates("https://certificates", transport=transport), clock=clock
    ) as cache:
        clock.advance(10)
        await cache.ensure_key("unknown")
        assert certificates(cache).keys() == {keys[0].key_id}


async def test_expired_certificates_are_not_accepted(keys: list[Key]) -> None:
    """A fetch that brings only expired certificates has failed."""
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
        ({"cache-control": 'PUBLIC,, Max-Age="19845"'}, 19845),
        ({"Cache-Control": "x-max-age=5, max-age=7, max-age=9"}, 7),
        ({"Cache-Control": 'private="max-age=5"'}, 0),
        ({"Cache-Control": "max-age=60", "Age": "soon"}, 60),
        ({}, 0),
    ],
)
async def test_max_age_is_read_from_the_answer(
    keys: list[Key], headers: dict[str, str], max_age_seconds: float
) -> None:
    """It is that of `Cache-Control`, less the `Age` that caches on the way report."""
    answer = httpx.Response(200, json={keys[0].key_id: keys[0].certificate}, headers=headers)
    source = PublishedCertificates("https://certificates", transport=httpx.MockTransport(lambda request: answer))
    assert (await source.fetch()).max_age_seconds == max_age_seconds


async def test_an_error_status_is_a_failed_fetch() -> None:
    """The body of such an answer is not read. The error names the address and the status."""
    source = PublishedCertificates("https://certificates", transport=httpx.MockTransport(lambda r: httpx.Response(500)))
    with pytest.raises(httpx.HTTPStatusError, match=r"^https://certificates answered 500$"):
        await source.fetch()


async def test_the_raw_auth_emulator_has_no_certificates() -> None:
    """The error says which emulator to start: plain HTTP is an emulator's."""
    missing = httpx.MockTransport(lambda request: httpx.Response(404))
    with pytest.raises(httpx.HTTPStatusError, match=r"answered 404\. Run `mstoken emulator`, and set FIREBASE_AUTH_"):
        await PublishedCertificates("http://127.0.0.1:9099/certificates", transport=missing).fetch()


@pytest.mark.parametrize(
    ("url", "error", "text"),
    [
        (
            "http://127.0.0.1:9199/certificates",
            httpx.ConnectError("All connection attempts failed"),
            "http://127.0.0.1:9199/certificates could not be reached: All connection attempts failed. "
            "Run `mstoken emulator`, and set FIREBASE_AUTH_EMULATOR_HOST to its address",
        ),
        (
            "https://certificates",
            httpx.ConnectTimeout(""),
            "https://certificates could not be reached: no answer in time",
        ),
    ],
    ids=["emulator", "Google"],
)
async def test_a_network_error_names_the_address(url: str, error: httpx.RequestError, text: str) -> None:
    """It keeps its class and its cause, and says what to do about an emulator."""

    def fail(request: httpx.Request) -> httpx.Response:
        raise error

    with pytest.raises(type(error)) as caught:
        await PublishedCertificates(url, transport=httpx.MockTransport(fail)).fetch()
    assert str(caught.value) == text
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "the file cannot be read: No such file or directory"),
        ("root:x:0:0", "the file does not contain certificates in Google's format"),
        ("[]", "the file does not contain certificates in Google's format"),
        ('{"keys": []}', "the file does not contain certificates in Google's format"),
    ],
    ids=["missing", "text", "list", "JWKS"],
)
async def test_a_wrong_file_names_its_setting(tmp_path: Path, content: str | None, text: str) -> None:
    """The error has the variable, the path and what is wrong."""
    path = tmp_path / "certificates.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises((OSError, ValueError)) as caught:
        await CertificateFile(path).fetch()
    assert str(caught.value) == f"MSTOKEN_CERTIFICATES_FILE is {str(path)!r}: {text}"


async def test_certificates_from_a_file(keys: list[Key], clock: FakeClock, tmp_path: Path) -> None:
    """The file is read at the start, and read again after it was renewed. A missing file is named in the refusal."""
    path = tmp_path / "certificates.json"
    path.write_text(json.dumps({keys[0].key_id: keys[0].certificate}))
    async with CertificateCache(CertificateFile(path), clock=clock) as cache:
        assert certificates(cache).keys() == {keys[0].key_id}
        path.write_text(json.dumps({keys[1].key_id: keys[1].certificate}))
        clock.advance(10)
        await cache.ensure_key(keys[1].key_id)
        assert certificates(cache).keys() == {keys[1].key_id}
    async with CertificateCache(CertificateFile(tmp_path / "missing.json")) as cache:
        with pytest.raises(VerifierUnavailable, match=r"missing\.json"):
            cache.ready()


@pytest.mark.parametrize(
    "weak",
    [rsa.generate_private_key(65_537, 1024), ec.generate_private_key(ec.SECP256R1())],
    ids=["RSA of 1024 bits", "P-256"],
)
async def test_a_certificate_of_another_kind_of_key_is_not_taken(
    keys: list[Key], clock: FakeClock, weak: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
) -> None:
    """RS256 needs an RSA key of at least 2048 bits (RFC 7518, section 3.3). The earlier certificates stay in use."""
    source = FakeSource(keys[0])
    async with CertificateCache(source, clock=clock) as cache:
        clock.advance(HOUR_SECONDS)
        name = x509.Name([])
        builder = x509.CertificateBuilder(name, name, weak.public_key(), serial_number=1)
        now = datetime.datetime.now(datetime.UTC)
        builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
        certificate = builder.sign(weak, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
        source.more = {"weak": certificate}
        await cache.ensure_key("weak")
        assert cache.last_error is not None
        assert "a certificate is not for an RSA key of at least 2048 bits" in cache.last_error
        assert certificates(cache) == {keys[0].key_id: public_key(keys[0])}
