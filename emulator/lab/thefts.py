"""What a thief can do with the last request on the wire: the same theft for five ways to say who is calling.

For each way, Billing makes one honest call of the till, and a thief who has recorded its bytes sends them again. The
same is done to real calls of the shop, which the wiretap has recorded.
"""

import contextlib
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import firebase_admin.auth
import httpx
from firebase_admin.exceptions import FirebaseError

from emulator.attacks.checks import check_of
from emulator.attacks.victims import SignedInVictims
from emulator.attacks.wire import Answer, RawRequest, exchange
from emulator.lab.shown import ShownRequest, show_request
from emulator.lab.till import AUDIENCE, CALLER, SECRET_HEADER, running_till
from emulator.lab.wiretap import TappedCall
from emulator.run.errors import PortTaken, RunnerError
from emulator.run.ports import HOST
from emulator.run.shop_client import TIMEOUT_SECONDS
from emulator.run.stack import Stack
from mstoken import ServiceIdentity, Settings
from mstoken.admin import AdminApp
from mstoken.claims import service_uid
from mstoken.errors import MsTokenError, SettingsError
from mstoken.strict_jwt import unverified
from mstoken.wire import FRESH_TOKEN_MAX_AGE_SECONDS, PROOF_HEADER, PROOF_MAX_AGE_SECONDS, SERVICE_TOKEN_HEADER, Mode

TIMES = 10
"""How often the thief sends a request."""


NEW_TILL_SECONDS = 15.0
"""For how many seconds after its start a till may refuse what was issued before the memory of its store began."""
NEW_TILL_PAUSE_SECONDS = 0.5
NOT_YET = ("verifier_unavailable", "token_stale", "identity_disabled")
"""Also in the first seconds after Billing was enabled again, its new tokens are refused."""


@dataclass(frozen=True)
class Way:
    """A way to say who is calling: what the request carries, and for how long a thief can use what it carries.

    `is_weak` ways are what people use today.
    """

    id: str
    title: str
    carries: str
    why: str
    until: str
    is_weak: bool


WAYS = (
    Way(
        "secret",
        "A shared secret",
        f"{SECRET_HEADER}, the same in every call",
        "The secret says nothing about the call. A thief who has seen one request can make any other.",
        "until somebody notices, and changes the secret in every service at once",
        is_weak=True,
    ),
    Way(
        "user",
        "The user's token, passed on",
        "the ID token with which a customer called Billing",
        "The token is the customer's, for the whole shop. Every service that gets it can act as the customer.",
        "until the token expires, an hour after the customer's last sign-in or refresh",
        is_weak=True,
    ),
    Way(
        "plain",
        "A plain Firebase ID token",
        "an ID token of svc:billing, which firebase-admin verifies",
        "The signature is right at every use and at every callee: nothing in the token says which call it is for.",
        "until the token expires, an hour after the sign-in",
        is_weak=True,
    ),
    Way(
        "fresh",
        "mstoken, fresh mode",
        "an ID token for this callee, with an id that is spent at its first use",
        "Billing used the token first, so its id is spent.",
        f"no time: it was spent. Unused, it would have been one call, for {FRESH_TOKEN_MAX_AGE_SECONDS} s",
        is_weak=False,
    ),
    Way(
        "proof",
        "mstoken, proof mode",
        "an ID token that is bound to a key, and a proof of that key for this one call",
        "The proof is spent, and the thief cannot make another, since the key never leaves Billing's process.",
        f"no time: it was spent. Unused, it would have been this same call, once, for {PROOF_MAX_AGE_SECONDS} s",
        is_weak=False,
    ),
)


class TheftFailed(Exception):
    """A call could not be made or stolen: the text says why."""


@dataclass(frozen=True)
class Recording:
    """The bytes of an honest call, and until when they can be used, in seconds since the epoch, if there is an end."""

    request: bytes
    usable_until: float | None

    @property
    def shown(self) -> ShownRequest:
        """The request as a page shows it."""
        return show_request(self.request)


@dataclass
class WayState:
    """What happened in one way so far: the bills of Billing and of the thief, and the last theft's answers."""

    way: Way
    recording: Recording | None = None
    honest_bills: int = 0
    stolen_bills: int = 0
    last_theft: Sequence[Answer] = ()


@dataclass(frozen=True)
class Loot:
    """What the thief got for sending a recorded call of the shop again."""

    call: TappedCall
    answers: Sequence[Answer]

    @property
    def accepted(self) -> int:
        """How many were accepted."""
        return accepted(self.answers)


def accepted(answers: Sequence[Answer]) -> int:
    """Return how many of the answers are a success."""
    return sum(str(answer) == "accepted" for answer in answers)


def summary(answers: Sequence[Answer]) -> list[tuple[str, int, str]]:
    """Return each kind of answer with its number, and the name of the check that refused: the most frequent first."""
    found = Counter((str(answer), check.name if (check := check_of(answer)) else "") for answer in answers)
    return [(text, number, check) for (text, check), number in found.most_common()]


def steal(request: bytes, port: int, times: int = TIMES) -> list[Answer]:
    """Send the bytes of a request again and again, one after another. Return the answers. Raises TheftFailed."""
    try:
        return [exchange(port, [request]) for _ in range(times)]
    except OSError as error:
        raise TheftFailed(f"The service did not answer ({type(error).__name__}). Is it running?") from error


@dataclass
class Thefts:
    """Runs the till, calls it as Billing in each way, and steals these calls. Use `running`. Threads may share it."""

    stack: Stack
    states: dict[str, WayState] = field(default_factory=lambda: {way.id: WayState(way) for way in WAYS})

    def __post_init__(self) -> None:
        self._secret = secrets.token_urlsafe(24)
        self._lock = threading.Lock()
        self._open = contextlib.ExitStack()
        self._victims: SignedInVictims | None = None
        self._no_till: str | None = None

    @property
    def port(self) -> int:
        """The port of the till."""
        return self.stack.ports.till

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the till until the block ends. If it cannot run, every call of it fails, and says why."""
        settings = Settings(
            project_id=self.stack.project,
            emulator_host=self.stack.auth_host,
            base_url=f"http://{HOST}:{self.port}",
            replay_url="memory:",
        )
        with self._open:
            try:
                self._open.enter_context(running_till(self.port, settings, self._secret))
            except (PortTaken, SettingsError) as error:
                self._no_till = str(error)
            yield

    def buy(self, way: str) -> None:
        """Let Billing make one bill in a way. The thief records the request. Raises TheftFailed."""
        with self._lock:
            state = self.states[way]
            if self._no_till is not None:
                raise TheftFailed(f"The till does not run: {self._no_till}")
            deadline = time.monotonic() + NEW_TILL_SECONDS
            while True:
                with _explained():
                    recording = self._made(way)
                    answer = exchange(self.port, [recording.request])
                if answer.code not in NOT_YET or time.monotonic() > deadline:
                    break
                time.sleep(NEW_TILL_PAUSE_SECONDS)
            if str(answer) != "accepted":
                raise TheftFailed(f"The till refused Billing's own call with {answer}.")
            state.recording = recording
            state.honest_bills += 1
            state.last_theft = ()

    def steal(self, way: str) -> None:
        """Send the last request of a way ten times. Raises TheftFailed, also if there is nothing to steal yet."""
        with self._lock:
            state = self.states[way]
            if state.recording is None:
                raise TheftFailed("There is no request to steal yet. Let Billing call first.")
            state.last_theft = steal(state.recording.request, self.port)
            state.stolen_bills += accepted(state.last_theft)

    def _made(self, way: str) -> Recording:
        path = f"/{way}/bills".encode()
        lines, until = self._credentials(way)
        host = f"{HOST}:{self.port}".encode()
        (request,) = RawRequest(lines, path, b"POST", host).parts()
        return Recording(request, until)

    def _credentials(self, way: str) -> tuple[list[bytes], float | None]:
        """Return the header lines with which Billing calls in this way, and until when they can be used."""
        match way:
            case "secret":
                return [f"{SECRET_HEADER}: {self._secret}".encode()], None
            case "user":
                return _bearer(self._signed_in_victims().user_token())
            case "plain":
                return _bearer(self._plain_token())
        mode: Mode = "proof" if way == "proof" else "fresh"
        request = httpx.Request("POST", f"http://{HOST}:{self.port}/{way}/bills")
        # A new identity for each call: what was minted before Billing was disabled and enabled counts no more.
        with ServiceIdentity(CALLER, self.stack.settings) as billing:
            headers = next(billing.to(AUDIENCE, mode=mode).sync_auth_flow(request)).headers
        names = (SERVICE_TOKEN_HEADER, PROOF_HEADER)
        return [f"{name}: {headers[name]}".encode() for name in names if name in headers], time.time()

    def _plain_token(self) -> str:
        """Return an ID token of Billing without an ms claim, as a service gets it that signs in without mstoken."""
        app = AdminApp(self.stack.settings)
        custom_token = firebase_admin.auth.create_custom_token(service_uid(CALLER), app=app.get()).decode()
        url = f"{self.stack.settings.identity_toolkit_url}/accounts:signInWithCustomToken?key=any"
        body = {"token": custom_token, "returnSecureToken": True}
        answer = httpx.post(url, json=body, timeout=TIMEOUT_SECONDS, trust_env=False)
        return str(answer.raise_for_status().json()["idToken"])

    def _signed_in_victims(self) -> SignedInVictims:
        if self._victims is None:
            self._victims = SignedInVictims(self.stack)
        return self._victims


def _bearer(token: str) -> tuple[list[bytes], float]:
    return [f"Authorization: Bearer {token}".encode()], float(unverified(token).payload["exp"])


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn what can go wrong at the emulators and the services into TheftFailed."""
    try:
        yield
    except (OSError, httpx.HTTPError, MsTokenError, RunnerError, FirebaseError) as error:
        raise TheftFailed(f"The call could not be made ({type(error).__name__}): {error}") from error
