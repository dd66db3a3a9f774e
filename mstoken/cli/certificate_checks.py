"""What `mstoken doctor` checks about certificates, and about the clock, which it compares with their server's."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple

import httpx
from cryptography import x509

from mstoken.cli.checks import Finding
from mstoken.settings import Settings
from mstoken.wire import CLOCK_SKEW_SECONDS

CLOCK_WARNING_SECONDS = 2.0
"""Difference between two clocks, in seconds, from which there is a warning."""
FILE_WARNING_SECONDS = 3 * 86_400
"""How long before the last certificate in a file expires there is a warning, in seconds."""

_CERTIFICATES_URL = "https://www.googleapis.com/robot/v1/metadata/x509/securetoken@system.gserviceaccount.com"
_ALLOW_HTTPS = "Allow HTTPS from this machine to www.googleapis.com, or set MSTOKEN_CERTIFICATES_FILE to a file."
_SEE_EMULATOR = "Correct what the check of the emulator found."


class Published(NamedTuple):
    """A response with certificates. Both times are seconds since the epoch, by our clock: just before and after it."""

    response: httpx.Response
    requested_at: float
    received_at: float


def check_certificates(
    settings: Settings, client: httpx.Client, clock: Callable[[], float]
) -> tuple[Finding, Published | None]:
    """Check that there are certificates to verify tokens with. Also return the response, if they were fetched."""
    name, published = "certificates", None
    file = settings.certificates_file
    advice = _SEE_EMULATOR if settings.emulator_host else _ALLOW_HTTPS
    try:
        if file is None:
            requested_at = clock()
            response = client.get(settings.certificates_url)
            published = Published(response, requested_at, clock())
            response.raise_for_status()
            content = response.content
        else:
            content = file.read_bytes()
        expiry_times = _expiry_times(content)
    except httpx.HTTPStatusError as error:
        text = f"{settings.certificates_url} answered {error.response.status_code}"
        return Finding(name, "error", text, advice), published
    except httpx.HTTPError as error:
        text = f"{settings.certificates_url} could not be reached ({type(error).__name__})"
        return Finding(name, "error", text, advice), published
    except OSError as error:
        text = f"{file} cannot be read: {error.strerror}"
        return Finding(name, "error", text, "Save Google's certificates there, or unset the variable."), published
    except ValueError:
        text = f"{file or settings.certificates_url} does not contain certificates in Google's format"
        return Finding(name, "error", text, f"Expected the content of {_CERTIFICATES_URL}"), published
    return _certificates_finding(name, expiry_times, clock(), file), published


def _certificates_finding(name: str, expiry_times: list[float], now: float, file: Path | None) -> Finding:
    first, last = min(expiry_times), max(expiry_times)
    if last <= now:
        advice = "Replace the file." if file else "Check the clock of this machine."
        return Finding(name, "error", f"all {len(expiry_times)} have expired, the last on {_date(last)}", advice)
    text = f"found {len(expiry_times)}; the first {'expired' if first <= now else 'expires'} on {_date(first)}"
    if file and last - now < FILE_WARNING_SECONDS:
        return Finding(name, "warning", f"{text}, the last on {_date(last)}", "Replace the file, and automate that.")
    return Finding(name, "ok", text)


def _expiry_times(content: bytes) -> list[float]:
    """Return when each certificate expires, in seconds since the epoch. Raise ValueError for any other content."""
    value = json.loads(content)
    if not isinstance(value, dict) or not value:
        raise ValueError("not a JSON object of key ids and certificates")
    return [x509.load_pem_x509_certificate(str(pem).encode()).not_valid_after_utc.timestamp() for pem in value.values()]


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def check_clock(published: Published | None) -> Finding:
    """Compare our clock with the header `Date` of the response with the certificates.

    `Date` is in whole seconds, so half a second is added. If a cache answered, `Age` says how old `Date` is, in
    seconds (RFC 9111, section 5.1).
    """
    name = "clock"
    if published is None:
        advice = "Make sure that this machine sets its clock with NTP."
        return Finding(name, "warning", "not compared, because nothing was fetched from Google", advice)
    headers, ours = published.response.headers, (published.requested_at + published.received_at) / 2
    try:
        theirs = parsedate_to_datetime(headers.get("Date", "")).timestamp() + 0.5
    except ValueError:
        return Finding(name, "warning", "not compared, because the response with the certificates has no valid Date")
    age = headers.get("Age", "")
    difference = ours - theirs - (float(age) if age.isdecimal() else 0.0)
    text = f"{abs(difference):.1f} s {'ahead of' if difference > 0 else 'behind'} the server with the certificates"
    advice = f"Set the clock of this machine with NTP. At most {CLOCK_SKEW_SECONDS} s are allowed."
    if abs(difference) > CLOCK_SKEW_SECONDS:
        return Finding(name, "error", f"{text}, so valid tokens are refused", advice)
    if abs(difference) > CLOCK_WARNING_SECONDS:
        return Finding(name, "warning", text, advice)
    return Finding(name, "ok", text)
