"""Google's certificates, kept in memory.

`firebase-admin` asks for the certificates at every verification, through a `google.auth.transport.Request`.
`CertificateCache` is such a transport. It answers from memory: a background task keeps it filled, so that verifying
does no I/O and needs no thread (firebase-admin#711 reports fetches that hung inside a request).

Source of format and lifetime: Firebase, "Verify ID tokens using a third-party JWT library": a JSON object of key ids
and X.509 certificates, valid for the `max-age` of its `Cache-Control`.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import exceptions, transport
from typing_extensions import override

from mstoken import telemetry
from mstoken.backoff import Backoff
from mstoken.errors import VerifierUnavailable
from mstoken.header_fields import cache_directives, delta_seconds
from mstoken.log_events import log_event
from mstoken.refresher import Refresher
from mstoken.settings import RUN_EMULATOR
from mstoken.single_flight import SingleFlight

FETCH_TIMEOUT_SECONDS = 5.0
UNKNOWN_KEY_PAUSE_SECONDS = 10.0
"""Minimum seconds between two fetches caused by an unknown key id. While no certificates are loaded, retry sooner."""
FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 60.0
REFRESH_AFTER = 0.75
"""The part of `max-age` after which the certificates are fetched again."""
MIN_MAX_AGE_SECONDS = 60.0
"""A shorter `max-age` counts as this long, so that a source without one is not fetched all the time."""
FILE_MAX_AGE_SECONDS = 60.0
MIN_KEY_BITS = 2048

_log = logging.getLogger("mstoken.certificates")


@dataclass(frozen=True, slots=True)
class Fetched:
    """Certificates in PEM by key id, and the seconds for which their publisher allows caching them."""

    certificates: Mapping[str, str]
    max_age_seconds: float


class CertificateSource(Protocol):
    """A place that certificates are fetched from."""

    async def fetch(self) -> Fetched:
        """Return the certificates that are published now. Raise OSError, ValueError or `httpx.HTTPError` on failure."""
        ...


class PublishedCertificates(CertificateSource):
    """Certificates at a URL, in Google's format."""

    def __init__(self, url: str, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._url = url
        self._transport = transport

    @override
    async def fetch(self) -> Fetched:
        # A new client for each fetch: there are a few fetches a day, and a kept connection would be dead by then. A
        # proxy does not reach the emulators, which are those that use plain HTTP.
        uses_proxies = self._url.startswith("https:")
        # The raw Auth emulator has no certificates.
        advice = "" if uses_proxies else f". {RUN_EMULATOR}"
        async with httpx.AsyncClient(
            transport=self._transport, timeout=FETCH_TIMEOUT_SECONDS, trust_env=uses_proxies
        ) as client:
            try:
                response = await client.get(self._url)
            except httpx.RequestError as error:
                text = f"{self._url} could not be reached: {str(error) or 'no answer in time'}{advice}"
                raise type(error)(text, request=error.request) from error
        if not response.is_success:
            text = f"{self._url} answered {response.status_code}{advice}"
            raise httpx.HTTPStatusError(text, request=response.request, response=response)
        return Fetched(_pem_by_key_id(response.content), _max_age_seconds(response))


class CertificateFile(CertificateSource):
    """Certificates in a file, in Google's format, for networks that cannot reach Google (firebase-admin-go#661).

    The file is read again every minute, so that the job that renews it need not notify anyone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._named = f"MSTOKEN_CERTIFICATES_FILE is {str(path)!r}"

    @override
    async def fetch(self) -> Fetched:
        try:
            certificates = _pem_by_key_id(await asyncio.to_thread(self._path.read_bytes))
        except OSError as error:
            raise type(error)(f"{self._named}: the file cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise ValueError(f"{self._named}: the file does not contain certificates in Google's format") from error
        return Fetched(certificates, FILE_MAX_AGE_SECONDS)


@dataclass(frozen=True, slots=True)
class _Loaded:
    """Public keys in PEM, and when their certificates expire, by key id. Another thread sees all of it or nothing."""

    public_keys: Mapping[str, str]
    not_after: Mapping[str, float]
    first_end: float
    """When the first certificate expires, in seconds since the epoch."""

    @classmethod
    def of(cls, public_keys: Mapping[str, str], not_after: Mapping[str, float]) -> Self:
        return cls(public_keys, not_after, min(not_after.values(), default=float("inf")))

    def without_expired(self, now: float) -> Self:
        """Return what is valid at `now`, in seconds since the epoch: the same object, if nothing has expired."""
        if self.first_end > now:
            return self
        not_after = {key_id: end for key_id, end in self.not_after.items() if end > now}
        return self.of({key_id: self.public_keys[key_id] for key_id in not_after}, not_after)


class CertificateCache(transport.Request):
    """The certificates of one source, refreshed in the background and kept through an outage of the source.

    As a google-auth transport it answers every request with the certificates in memory. All event loops and threads of
    a process share them. In a loop that has not opened it, and in a forked child, calls start the refreshes.
    """

    def __init__(
        self,
        source: CertificateSource,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        fetch_timeout_seconds: float = FETCH_TIMEOUT_SECONDS,
    ) -> None:
        """`clock` returns seconds since the epoch."""
        self._source = source
        self._clock = clock
        self._fetch_timeout_seconds = fetch_timeout_seconds
        self._loaded = _Loaded.of({}, {})
        self._loaded_at = float("-inf")
        self._refresh_at = 0.0
        self._fetched_at = self._fetched_for_unknown_key_at = float("-inf")
        self._ended: Future[None] = Future()
        """Is done when the last fetch has ended, in whichever event loop it began."""
        self._ended.set_result(None)
        self._failures = 0
        self._backoff = Backoff(FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)
        self.last_error: str | None = "they have not been fetched yet"
        """Why the last fetch failed; None if it succeeded."""
        self._fetches = SingleFlight(self._fetch, "mstoken certificate fetch")
        self._refresher = Refresher(
            self._refresh,
            name="mstoken certificates",
            log=_log,
            message="certificates were not refreshed",
            sleep=sleep,
        )
        telemetry.observe(telemetry.CERTIFICATE_AGE, self, CertificateCache._ages)

    @override
    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> "_Answer":
        """Return the certificates in memory, as the response that google-auth expects of a fetch.

        Raises `google.auth.exceptions.TransportError` while no certificates are loaded.
        """
        return _Answer(json.dumps(dict(self.public_keys())).encode())

    def public_keys(self) -> Mapping[str, str]:
        """Return the public keys of the certificates that have not expired, in PEM by key id.

        Raises `google.auth.exceptions.TransportError` while no certificates are loaded.
        """
        public_keys = self._valid().public_keys
        if not public_keys:
            raise exceptions.TransportError("No certificates are loaded.")
        return public_keys

    async def ensure_key(self, key_id: str) -> None:
        """Fetch the certificates if `key_id` is unknown and a fetch is allowed. Wait for a fetch that is under way.

        An unknown key id may be that of a new key. It causes at most one fetch in 10 s, however many tokens with
        unknown key ids arrive, and all of them wait for the same fetch. Raises `VerifierUnavailable` if no
        certificates are loaded afterwards.
        """
        if key_id not in self._valid().public_keys:
            if self._fetches.is_running:
                await self._fetches.join()
            elif self._may_fetch_for_unknown_key():
                fetching = self._start_fetch()
                self._fetched_for_unknown_key_at = self._clock()
                await asyncio.shield(fetching)
            else:
                await self._wait_for_another_loop()
        elif self._clock() >= self._refresh_at:
            # Nothing refreshes them in the background: the event loop that did has ended, or is in the parent process.
            self._start_fetch()
        self.ready()

    def ready(self) -> None:
        """Raise `VerifierUnavailable`, with the reason, if no certificates are loaded."""
        if not self._valid().public_keys:
            raise VerifierUnavailable(f"No certificates to verify tokens are loaded: {self.last_error}.")

    async def open(self) -> None:
        """Fetch the certificates, and refresh them in the background from now on.

        A failed fetch is not an error here: it is repeated in the background until it succeeds.
        """
        self._refresher.start()
        await asyncio.shield(self._start_fetch())

    async def aclose(self) -> None:
        """End the background work."""
        await self._refresher.aclose()
        await self._fetches.aclose()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.aclose()

    async def _refresh(self) -> float:
        """Fetch the certificates if that is due. Return the seconds until the next fetch is due."""
        if self._clock() >= self._refresh_at:
            await asyncio.shield(self._start_fetch())
        return max(0.0, self._refresh_at - self._clock())

    async def _wait_for_another_loop(self) -> None:
        """Wait for the end of a fetch that another event loop has begun, for as long as a fetch may take."""
        ended, remaining_seconds = self._ended, self._fetched_at + self._fetch_timeout_seconds - self._clock()
        if not ended.done() and remaining_seconds > 0:
            await asyncio.wait([asyncio.wrap_future(ended)], timeout=remaining_seconds)

    def _start_fetch(self) -> "asyncio.Task[None]":
        """Start a fetch, unless one is under way in this event loop. Return its task."""
        if self._fetches.is_running:
            return self._fetches.start()
        # Before the time: other event loops that see by the time that a fetch has begun must find what ends with it.
        ended = self._ended = Future()
        self._fetched_at = self._clock()
        fetching = self._fetches.start()
        fetching.add_done_callback(lambda _fetching: ended.set_result(None))
        return fetching

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(self._fetch_timeout_seconds):
                fetched = await self._source.fetch()
            self._keep(fetched)
        except (OSError, ValueError, httpx.HTTPError) as error:
            self._note_failure(error)
        except Exception as error:  # a defect; requests that wait for this fetch get 503, as in any outage
            self._note_failure(error, with_traceback=True)

    def _keep(self, fetched: Fetched) -> None:
        certificates = {
            key_id: x509.load_pem_x509_certificate(pem.encode()) for key_id, pem in fetched.certificates.items()
        }
        not_after = {
            key_id: certificate.not_valid_after_utc.timestamp() for key_id, certificate in certificates.items()
        }
        if not any(end > self._clock() for end in not_after.values()):
            raise ValueError("every certificate has expired")
        public_keys = {key_id: _public_key(certificate) for key_id, certificate in certificates.items()}
        if self._failures:
            message = f"certificates are back after {self._failures} failed fetches"
            log_event(_log, logging.WARNING, "certificates are back", message, failures=self._failures)
        self._failures, self.last_error = 0, None
        self._loaded = _Loaded.of(public_keys, not_after)
        self._loaded_at = self._clock()
        self._refresh_at = self._clock() + REFRESH_AFTER * max(MIN_MAX_AGE_SECONDS, fetched.max_age_seconds)

    def _note_failure(self, error: Exception, *, with_traceback: bool = False) -> None:
        self._failures += 1
        cause = f"{type(error).__name__}: {error}"
        self.last_error = f"the last fetch failed ({cause})"
        self._refresh_at = self._clock() + self._backoff.delay_seconds(self._failures)
        loaded = len(self._loaded.public_keys)
        log_event(
            _log,
            logging.WARNING,
            "certificates could not be fetched",
            f"certificates could not be fetched: {cause}; failures in a row: {self._failures}, loaded: {loaded}",
            exc_info=error if with_traceback else None,
            error=self.last_error,
            failures=self._failures,
            loaded=loaded,
        )

    def _ages(self) -> Iterator[tuple[float, telemetry.Attributes]]:
        if self._loaded.public_keys:
            yield self._clock() - self._loaded_at, {}

    def _may_fetch_for_unknown_key(self) -> bool:
        if not self._loaded.public_keys:
            since, pause_seconds = self._fetched_at, FIRST_RETRY_SECONDS
        else:
            # Fetches for other reasons do not count: a key may be new although a process has just started.
            since, pause_seconds = self._fetched_for_unknown_key_at, UNKNOWN_KEY_PAUSE_SECONDS
        # A negative time means that the clock was set back, so the true time is unknown.
        return not 0 <= self._clock() - since < pause_seconds

    def _valid(self) -> _Loaded:
        """Return the certificates that have not expired, and drop the others."""
        before = self._loaded
        loaded = before.without_expired(self._clock())
        if loaded is not before:
            self._loaded = loaded
            self.last_error = self.last_error or "they have expired"
        return loaded


def _public_key(certificate: x509.Certificate) -> str:
    """Return the certificate's public key in PEM. google-auth accepts both, and parses a certificate for each token.

    Raises ValueError unless it is an RSA key of at least 2048 bits (RFC 7518, section 3.3).
    """
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < MIN_KEY_BITS:
        raise ValueError(f"a certificate is not for an RSA key of at least {MIN_KEY_BITS} bits")
    encoding = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return key.public_bytes(*encoding).decode("ascii")


class _Answer(transport.Response):
    """A response of status 200 with public keys, as google-auth reads it."""

    status = 200
    headers: Mapping[str, str] = {}

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    @override
    def data(self) -> bytes:
        return self._data


def _pem_by_key_id(content: bytes) -> dict[str, str]:
    value = json.loads(content)
    if not isinstance(value, dict) or not value or not all(isinstance(pem, str) for pem in value.values()):
        raise ValueError("not a JSON object of key ids and certificates")
    return value


def _max_age_seconds(response: httpx.Response) -> float:
    """Return `max-age` of `Cache-Control`, less `Age`, the time spent in caches (RFC 9111, sections 5.1, 5.2.2.1)."""
    lines = response.headers.get_list
    max_age = delta_seconds(cache_directives(lines("Cache-Control")).get("max-age", ""))
    if max_age is None:
        return 0.0
    ages = lines("Age")
    return max_age - ((delta_seconds(ages[0]) or 0.0) if ages else 0.0)
