"""Identity tokens of this process's service account, which prove to the token service who is calling.

On Google Cloud they come from the metadata server (Google Cloud, "Get an ID token" and "Authenticating with identity
tokens from the metadata server"). google-auth's client of that server needs the package requests, and reports its
absence as a missing server, so the one request is made here. What a file of credentials says is left to google-auth.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self
from urllib.parse import urlencode

from google.auth.exceptions import TransportError
from google.oauth2 import id_token

from mstoken import strict_jwt
from mstoken.backoff import Backoff
from mstoken.extras import needed_by
from mstoken.google_credentials import named_type
from mstoken.google_transport import GoogleRequest

METADATA_HOST = "metadata.google.internal"
METADATA_HOST_VARIABLE = "GCE_METADATA_HOST"
IDENTITY_PATH = "/computeMetadata/v1/instance/service-accounts/default/identity"
FLAVOR = {"Metadata-Flavor": "Google"}
"""The header field of each request and of each answer: only the metadata server sends it."""
ATTEMPTS = 3
ATTEMPT_SECONDS = 3.0
EARLY_SECONDS = 225
"""How long before its end a token is not used any more: as in google-auth, so that it does not expire on its way."""


class IdentityTokenMissing(Exception):
    """The platform gave no identity token. The text says why, and repeats nothing that a server has answered."""


@dataclass(frozen=True, slots=True)
class IdentityToken:
    """An identity token, and when it expires, in seconds since the epoch."""

    text: str
    expires_at: int

    @classmethod
    def read(cls, text: str) -> Self:
        """Return a token that a server has sent. Raise ValueError if it is not a JWT with an expiry."""
        return cls(text, strict_jwt.seconds(strict_jwt.unverified(text).payload, "exp"))

    def is_usable(self, now: float) -> bool:
        """Return whether the token is valid for long enough."""
        return now < self.expires_at - EARLY_SECONDS


def fetch_identity_token(audience: str, *, sleep: Callable[[float], object] = time.sleep) -> IdentityToken:
    """Return a new identity token for `audience`, which is a URL. This blocks. `sleep` takes seconds.

    It is that of the service account whose file GOOGLE_APPLICATION_CREDENTIALS names, or else that of this machine.
    Raise `IdentityTokenMissing`, and for a file what google-auth raises.
    """
    match named_type(os.environ):
        case "service_account" | "impersonated_service_account":
            return _from_file(audience)
    return _from_metadata_server(audience, sleep)


def _from_file(audience: str) -> IdentityToken:
    request = GoogleRequest()
    with needed_by("An identity token of an impersonated service account", "requests"):
        credentials = id_token.fetch_id_token_credentials(audience, request)
    credentials.refresh(request)
    return IdentityToken.read(str(credentials.token))


def _from_metadata_server(audience: str, sleep: Callable[[float], object]) -> IdentityToken:
    host = os.environ.get(METADATA_HOST_VARIABLE) or METADATA_HOST
    url = f"http://{host}{IDENTITY_PATH}?{urlencode({'audience': audience, 'format': 'full'})}"
    backoff = Backoff(first_seconds=0.2, longest_seconds=1.0)
    problem = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            sleep(backoff.delay_seconds(attempt))
        try:
            answer = GoogleRequest()(url, headers=FLAVOR, timeout=ATTEMPT_SECONDS)
        except TransportError as error:
            problem = f"no metadata server answers at {host} ({type(error.__cause__).__name__})"
            continue
        if any(answer.headers.get(name) != value for name, value in FLAVOR.items()):
            raise IdentityTokenMissing(f"what answers at {host} is not a metadata server")
        if answer.status == HTTPStatus.OK:
            try:
                return IdentityToken.read(answer.data.decode("ascii").strip())
            except ValueError:
                raise IdentityTokenMissing("the answer of the metadata server is not an identity token") from None
        problem = f"the metadata server answered {answer.status}"
        if answer.status < HTTPStatus.INTERNAL_SERVER_ERROR and answer.status != HTTPStatus.TOO_MANY_REQUESTS:
            break
    if os.environ.get(METADATA_HOST_VARIABLE):
        advice = f"Run `mstoken emulator --service`, or correct {METADATA_HOST_VARIABLE}"
    else:
        advice = "Outside Google Cloud, set MSTOKEN_PRIVATE_KEY_FILE"
    raise IdentityTokenMissing(f"{problem}. {advice}")
