"""Google's certificates, in memory before they are needed.

`firebase-admin` asks for the certificates at every verification, through a `google.auth.transport.Request`.
`CertificateCache` is one that answers from memory at once: a background task keeps it filled, so that verifying does
no I/O and needs no thread (firebase-admin#711 tells of fetches that hung inside a request).

Source of format and life time: Firebase, "Verify ID tokens using a third-party JWT library": a JSON object of key id
and X.509 certificate, good for the `max-age` of its `Cache-Control`.
"""

import asyncio
import json
import logging
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from google.auth import exceptions, transport

from mstoken.errors import VerifierUnavailable

FETCH_DEADLINE_SECONDS = 5.0
UNKNOWN_KEY_PAUSE_SECONDS = 10.0
FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 60.0
REFRESH_AHEAD = 0.75
"""The part of `max-age` after which certificates are fetched anew."""
SHORTEST_LIFE_SECONDS = 60.0
FILE_LIFE_SECONDS = 60.0

_log = logging.getLogger("mstoken.certificates")


@dataclass(frozen=True, slots=True)
class Fetched:
    """Certificates in PEM by key id, and for how long their publisher wants them cached."""

    certificates: Mapping[str, str]
    max_age_seconds: float


class CertificateSource(Protocol):
    """Where certificates come from. Raises any OSError, ValueError or `httpx.HTTPError` where they cannot be had."""

    async def fetch(self) -> Fetched:
        """The certificates as they are published now."""
        ...


class PublishedCertificates:
    """Certificates at an address, in Google's format."""

    def __init__(self, url: str, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._url = url
        self._transport = transport

    async def fetch(self) -> Fetched:
        """See `CertificateSource.fetch`."""
        # A client for each fetch: there are a few in a day, and a connection kept in between would have died.
        async with httpx.AsyncClient(transport=self._transport, timeout=FETCH_DEADLINE_SECONDS) as client:
            response = (await client.get(self._url)).raise_for_status()
        return Fetched(_pem_by_key_id(response.content), _max_age_seconds(response))


class CertificateFile:
    """Certificates in a file, in Google's format, for networks without a way out (firebase-admin-go#661).

    The file is read again every minute, so that whatever renews it needs to tell nobody.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def fetch(self) -> Fetched:
        """See `CertificateSource.fetch`."""
        return Fetched(_pem_by_key_id(await asyncio.to_thread(self._path.read_bytes)), FILE_LIFE_SECONDS)


class CertificateCache(transport.Request):
    """The certificates of one source, refreshed in the background and kept through an outage of the source.

    As a google-auth transport it answers every request with the certificates in memory. One event loop uses it.
    """

    def __init__(
        self,
        source: CertificateSource,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`clock` gives seconds since the epoch."""
        self._source = source
        self._clock = clock
        self._sleep = sleep
        self._keys: dict[str, str] = {}
        self._not_after: dict[str, float] = {}
        self._answer = b"{}"
        self._refresh_at = 0.0
        self._tried_at = float("-inf")
        self._failures = 0
        self.fault: str | None = "they have not been fetched yet"
        """What kept the last fetch from succeeding; None if it did."""
        self._fetching: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Task[None] | None = None

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> "_Answer":
        """What google-auth takes for a fetch. Raises `google.auth.exceptions.TransportError` while there is nothing."""
        self._drop_expired()
        if not self._keys:
            raise exceptions.TransportError("There are no certificates in the cache.")
        return _Answer(self._answer)

    async def know(self, key_id: str) -> None:
        """Returns when `key_id` is known, or when asking for it again is not due.

        A key that is not known here may be a new one: the source is asked, at most once in 10 s, however many such
        tokens come, and all who wait share one answer. Raises `VerifierUnavailable` where there are no certificates.
        """
        self._drop_expired()
        if key_id not in self._keys and self._clock() - self._tried_at >= self._pause_seconds():
            self._fetch_soon()
        if key_id not in self._keys and self._fetching is not None:
            await asyncio.shield(self._fetching)
        self.ready()

    def ready(self) -> None:
        """Returns if there are certificates. Raises `VerifierUnavailable`, saying why there are none."""
        self._drop_expired()
        if not self._keys:
            raise VerifierUnavailable(f"There are no certificates to verify tokens with: {self.fault}.")

    async def open(self) -> None:
        """Fetches the certificates, and keeps them fresh from now on. An outage is no obstacle: it heals by itself."""
        self._refreshing = asyncio.create_task(self._refresh(), name="mstoken certificates")
        self._fetch_soon()
        if self._fetching is not None:
            await asyncio.shield(self._fetching)

    async def aclose(self) -> None:
        """Ends the background work."""
        tasks = [task for task in (self._refreshing, self._fetching) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._refreshing = self._fetching = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _refresh(self) -> None:
        while True:
            await self._sleep(max(0.0, self._refresh_at - self._clock()))
            if self._clock() >= self._refresh_at:
                self._fetch_soon()
            if self._fetching is not None:
                await asyncio.shield(self._fetching)

    def _fetch_soon(self) -> None:
        """Starts a fetch unless one is on its way."""
        if self._fetching is None:
            self._tried_at = self._clock()
            self._fetching = asyncio.create_task(self._fetch(), name="mstoken certificate fetch")

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(FETCH_DEADLINE_SECONDS):
                fetched = await self._source.fetch()
            self._keep(fetched)
        except (OSError, ValueError, TimeoutError, httpx.HTTPError) as error:
            self._note_failure(error)
        finally:
            self._fetching = None

    def _keep(self, fetched: Fetched) -> None:
        certificates = {
            key_id: x509.load_pem_x509_certificate(pem.encode()) for key_id, pem in fetched.certificates.items()
        }
        not_after = {key_id: one.not_valid_after_utc.timestamp() for key_id, one in certificates.items()}
        if not any(moment > self._clock() for moment in not_after.values()):
            raise ValueError("every certificate has expired")
        if self._failures:
            _log.warning("certificates are back", extra={"failures": self._failures})
        self._failures, self.fault = 0, None
        self._keys = {key_id: _public_key(one) for key_id, one in certificates.items()}
        self._not_after = not_after
        self._answer = json.dumps(self._keys).encode()
        self._refresh_at = self._clock() + REFRESH_AHEAD * max(SHORTEST_LIFE_SECONDS, fetched.max_age_seconds)

    def _note_failure(self, error: Exception) -> None:
        self._failures += 1
        self.fault = f"the last fetch failed ({type(error).__name__}: {error})"
        pause = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** (self._failures - 1))
        self._refresh_at = self._clock() + pause * (0.5 + random.random() / 2)  # noqa: S311 - spreads load, hides nothing
        _log.warning(
            "certificates could not be fetched",
            extra={"error": self.fault, "failures": self._failures, "in_hand": len(self._keys)},
        )

    def _pause_seconds(self) -> float:
        """How long after a fetch an unknown key is no reason for another; with nothing in hand any is, soon."""
        return UNKNOWN_KEY_PAUSE_SECONDS if self._keys else FIRST_RETRY_SECONDS

    def _drop_expired(self) -> None:
        now = self._clock()
        if any(moment <= now for moment in self._not_after.values()):
            self._keys = {key_id: pem for key_id, pem in self._keys.items() if self._not_after[key_id] > now}
            self._not_after = {key_id: self._not_after[key_id] for key_id in self._keys}
            self._answer = json.dumps(self._keys).encode()
            self.fault = self.fault or "they have expired"


def _public_key(certificate: x509.Certificate) -> str:
    """The certificate's public key, PEM: google-auth takes either, and would read a certificate for every token."""
    encoding = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return certificate.public_key().public_bytes(*encoding).decode("ascii")


class _Answer(transport.Response):
    """A response of 200 with keys, as google-auth reads it."""

    status = 200
    headers: Mapping[str, str] = {}

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def data(self) -> bytes:
        return self._data


def _pem_by_key_id(content: bytes) -> dict[str, str]:
    value = json.loads(content)
    if not isinstance(value, dict) or not value or not all(isinstance(pem, str) for pem in value.values()):
        raise ValueError("not a JSON object of key ids and certificates")
    return value


def _max_age_seconds(response: httpx.Response) -> float:
    """`max-age` of `Cache-Control`, less `Age`, a cache's share on the way (RFC 9111, sections 5.1, 5.2.2.1)."""
    found = re.search(r"\bmax-age=(\d{1,9})\b", response.headers.get("Cache-Control", ""))
    age = response.headers.get("Age", "")
    return float(found.group(1)) - (float(age) if age.isdecimal() else 0.0) if found else 0.0
