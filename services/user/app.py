"""The User service: accounts at Firebase Auth, and profiles.

It is started by `uvicorn --factory services.user.app:create_app --http services.common.server:TimedProtocol`.
"""

from functools import partial
from pathlib import Path

import httpx
from fastapi import FastAPI

from mstoken import Settings, TokenVerifier
from services.common.app import build, own_process
from services.common.background import Repeated
from services.common.database import Database
from services.common.late_writes import LateWrites
from services.user.accounts import FAILED_LOG_IN_SECONDS, Accounts
from services.user.attempts import FORGET_SECONDS, Attempts
from services.user.firebase import AdminSessions, IdentityToolkit, Sessions
from services.user.profiles import Profiles
from services.user.routes import add_routes
from services.user.settings import UserSettings
from services.user.store import AttemptStore, ProfileStore

MIGRATIONS = Path(__file__).parent / "migrations"


@own_process("user")
def create_app(
    settings: UserSettings | None = None,
    *,
    firebase: Settings | None = None,
    verifier: TokenVerifier | None = None,
    sessions: Sessions | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    failed_log_in_seconds: float = FAILED_LOG_IN_SECONDS,
) -> FastAPI:
    """Return the app. Without arguments it is configured from the environment, and configures the log of its process.

    `firebase` are the settings of the Firebase project; by default they come from the environment. `verifier` and
    `sessions` replace the real ones, and `transport` the network to Firebase's REST API. A refused log-in is answered
    after `failed_log_in_seconds`, so that its time tells nothing. Raises `SettingsError`.
    """
    settings = settings or UserSettings()
    firebase = firebase or Settings()
    verifier = verifier or TokenVerifier("user", firebase)
    toolkit = IdentityToolkit(firebase, transport=transport)
    database = Database(settings.database_url, MIGRATIONS)
    late_writes = LateWrites()
    attempts = Attempts(AttemptStore(database), late_writes)
    profiles = Profiles(ProfileStore(database))
    accounts = Accounts(
        toolkit,
        sessions or AdminSessions(firebase),
        profiles,
        attempts,
        forget=verifier.forget,
        failed_log_in_seconds=failed_log_in_seconds,
    )
    return build(
        "User",
        "Accounts and sessions at Firebase Auth, and the profiles of users.",
        partial(add_routes, accounts=accounts, profiles=profiles, trusted_proxies=settings.trusted_proxies),
        settings=settings,
        verifier=verifier,
        database=database,
        resources=[toolkit, late_writes, Repeated("forget attempts", attempts.forget, every_seconds=FORGET_SECONDS)],
        backlogs=[attempts.unforgotten],
    )
