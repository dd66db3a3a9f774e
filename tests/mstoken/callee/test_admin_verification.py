"""firebase-admin with what this process knows already gives the same results as firebase-admin unchanged."""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import firebase_admin
import google.auth.jwt
import pytest
from firebase_admin import auth, credentials

from mstoken.callee.admin_verification import (
    AdminVerification,
    GivenVerification,
    UnchangedVerification,
    admin_verification,
)
from mstoken.callee.certificates import CertificateCache, CertificateFile
from mstoken.emulator.signed_auth import KeyRing, TokenSpec
from mstoken.strict_jwt import Unverified, unverified
from tests.mstoken.production import PROJECT, token, write_service_account


@pytest.fixture(scope="module")
def keys() -> KeyRing:
    """The keys with which Google signs, and whose certificates it publishes."""
    return KeyRing()


@pytest.fixture
async def certificates(keys: KeyRing, tmp_path: Path) -> CertificateCache:
    """The certificates of the keys, in memory."""
    path = tmp_path / "certificates.json"
    path.write_text(json.dumps(keys.published()))
    cache = CertificateCache(CertificateFile(path))
    await cache.ensure_key(keys.signing.key_id)
    return cache


@pytest.fixture(scope="module")
def credential(tmp_path_factory: pytest.TempPathFactory) -> credentials.Certificate:
    """The credential of a service account. Its key is read once: that takes 30 ms."""
    return credentials.Certificate(write_service_account(tmp_path_factory.mktemp("account") / "account.json"))


@pytest.fixture
def clients(credential: credentials.Certificate) -> Iterator[list[auth.Client]]:
    """Two clients of firebase-admin, each with an app of its own."""
    options = {"projectId": PROJECT}
    apps = [firebase_admin.initialize_app(credential, options, name=name) for name in ("one", "two")]
    yield [auth._get_client(app) for app in apps]
    for app in apps:
        firebase_admin.delete_app(app)


def result(verification: AdminVerification, encoded: str) -> dict[str, Any] | tuple[str, str]:
    """Return the claims, or the error and its message, without the times in it: one of them is that of the call."""
    try:
        return verification.verify_id_token(unverified(encoded))
    except Exception as error:
        return type(error).__name__, re.sub(r"\d{10,}", "a time", str(error))


def signature_result(verification: AdminVerification, encoded: str) -> tuple[str, str] | None:
    """Return the error and its message for the signature of a token."""
    try:
        verification.verify_signature(unverified(encoded), PROJECT)
    except Exception as error:
        return type(error).__name__, str(error)
    return None


@contextmanager
def giving(given: GivenVerification, jwt: Unverified) -> Iterator[None]:
    """Give what was read of a token, as while it is verified."""
    given._thread.jwt = jwt
    yield
    given._thread.jwt = None


NOW = int(time.time())
OLD = {"iat": NOW - 7200, "exp": NOW - 3600}
TOKENS: dict[str, dict[str, Any]] = {
    "good": {},
    "nested claims": {"ms": {"v": 1, "svc": "billing", "list": [1, {"a": None}]}, "number": 1.5, "text": "é\u2028"},
    "expired": OLD,
    "from the future": {"iat": NOW + 3600, "exp": NOW + 7200},
    "no iat": {"iat": None},
    "no exp": {"exp": None},
    "other project": {"aud": "demo-other"},
    "list of projects": {"aud": [PROJECT]},
    "custom token": {
        "aud": "https://identitytoolkit.googleapis.com/google.identity.identitytoolkit.v1.IdentityToolkit"
    },
    "other issuer": {"iss": "https://accounts.google.com"},
    "no subject": {"sub": None},
    "empty subject": {"sub": ""},
    "long subject": {"sub": "x" * 129},
    "number as subject": {"sub": 7},
}
HEADERS: dict[str, dict[str, Any]] = {
    "unknown key": {"kid": "unknown"},
    "key id of another type": {"kid": ["unknown"]},
    "ES256": {"alg": "ES256"},
    "HS256": {"alg": "HS256"},
    "algorithm of another type": {"alg": ["RS256"]},
    "unknown algorithm": {"alg": "RS1"},
}


@pytest.mark.parametrize("name", TOKENS)
async def test_the_result_for_a_payload_is_that_of_firebase_admin_unchanged(
    name: str, clients: list[auth.Client], certificates: CertificateCache, keys: KeyRing
) -> None:
    """The claims are equal, or the error and its message are. With the emulator, so is the check of the signature."""
    encoded = token(keys, **TOKENS[name])
    given, unchanged = admin_verification(clients[0], certificates), UnchangedVerification(clients[1], certificates)
    assert isinstance(given, GivenVerification)
    assert result(given, encoded) == result(unchanged, encoded)
    assert signature_result(given, encoded) == signature_result(unchanged, encoded)
    assert isinstance(result(given, encoded), dict) == (name in ("good", "nested claims"))


@pytest.mark.parametrize("name", HEADERS)
async def test_the_result_for_a_header_is_that_of_firebase_admin_unchanged(
    name: str, clients: list[auth.Client], certificates: CertificateCache, keys: KeyRing
) -> None:
    """Every such token is refused, with the same error and message."""
    payload = unverified(token(keys)).payload
    encoded = keys.make(TokenSpec(header=HEADERS[name], payload=payload))
    given, unchanged = admin_verification(clients[0], certificates), UnchangedVerification(clients[1], certificates)
    assert isinstance(result(given, encoded), tuple)
    assert result(given, encoded) == result(unchanged, encoded)
    assert signature_result(given, encoded) == signature_result(unchanged, encoded)


async def test_a_forged_signature_is_refused(
    clients: list[auth.Client], certificates: CertificateCache, keys: KeyRing
) -> None:
    """The signature of another key, another payload, and a token whose signature was cut."""
    given = admin_verification(clients[0], certificates)
    good = token(keys)
    header, payload, signature = good.split(".")
    forged = [
        keys.make(TokenSpec(payload=unverified(good).payload, key="other")),
        ".".join([header, token(keys, sub="svc:admin").split(".")[1], signature]),
        ".".join([header, payload, signature[: len(signature) // 8 * 4]]),
        ".".join([header, payload, ""]),
    ]
    for encoded in forged:
        assert result(given, encoded) == ("InvalidIdTokenError", "Could not verify token signature.")


async def test_a_token_that_was_not_given_is_read(
    clients: list[auth.Client], certificates: CertificateCache, keys: KeyRing
) -> None:
    """What was read of one token is never used for another."""
    client = clients[0]
    given = admin_verification(client, certificates)
    assert isinstance(given, GivenVerification)
    other = token(keys, sub="svc:other")
    assert client.verify_id_token(other)["sub"] == "svc:other"
    with giving(given, unverified(token(keys))):
        assert client.verify_id_token(other)["sub"] == "svc:other"


async def test_threads_do_not_share_what_is_given(
    clients: list[auth.Client], certificates: CertificateCache, keys: KeyRing
) -> None:
    """A thread that begins while another verifies has nothing given."""
    client = clients[0]
    given = admin_verification(client, certificates)
    assert isinstance(given, GivenVerification)
    jwt, seen = unverified(token(keys)), list[object]()
    thread = threading.Thread(target=lambda: seen.append(getattr(given._thread, "jwt", None)))
    with giving(given, jwt):
        thread.start()
        thread.join()
        assert given._thread.jwt is jwt
    assert seen == [None]


async def test_nothing_is_given_after_a_verification(
    clients: list[auth.Client], certificates: CertificateCache, keys: KeyRing
) -> None:
    """What was read of a token is gone when its verification has ended, with its claims or with an error."""
    given = admin_verification(clients[0], certificates)
    assert isinstance(given, GivenVerification)
    for encoded in (token(keys), token(keys, **OLD)):
        result(given, encoded)
        assert given._thread.jwt is None
        signature_result(given, encoded)
        assert given._thread.jwt is None


async def test_the_claims_are_a_copy(clients: list[auth.Client], certificates: CertificateCache, keys: KeyRing) -> None:
    """firebase-admin adds the claim `uid`, and the caller's payload does not get it."""
    jwt = unverified(token(keys))
    claims = admin_verification(clients[0], certificates).verify_id_token(jwt)
    assert claims["uid"] == jwt.payload["sub"]
    assert "uid" not in jwt.payload


async def test_other_users_of_the_libraries_notice_nothing(
    clients: list[auth.Client], certificates: CertificateCache, keys: KeyRing
) -> None:
    """The functions of google-auth and of another client of firebase-admin are as before."""
    decode, class_verify = google.auth.jwt.decode, type(clients[1]._token_verifier.id_token_verifier).verify
    admin_verification(clients[0], certificates)
    assert google.auth.jwt.decode is decode
    assert decode.__globals__["_unverified_decode"] is google.auth.jwt._unverified_decode
    other = clients[1]._token_verifier.id_token_verifier
    assert other.verify.__func__ is class_verify


async def test_new_keys_are_used_at_once(
    clients: list[auth.Client], certificates: CertificateCache, tmp_path: Path
) -> None:
    """The cache of keys does not keep a certificate valid that is not published any more."""
    given = admin_verification(clients[0], certificates)
    rotated = KeyRing()
    assert isinstance(result(given, token(rotated)), tuple)
    (tmp_path / "certificates.json").write_text(json.dumps(rotated.published()))
    await certificates._fetches.join()
    assert isinstance(result(given, token(rotated)), dict)


async def test_without_certificates_nothing_is_verified(
    clients: list[auth.Client], keys: KeyRing, tmp_path: Path
) -> None:
    """The error is that of a fetch that failed, not of an invalid token."""
    given = admin_verification(clients[0], CertificateCache(CertificateFile(tmp_path / "none")))
    assert result(given, token(keys)) == ("CertificateFetchError", "No certificates are loaded.")


def _other_decode(token: str) -> None:
    """A google-auth whose `decode` uses none of the helpers that are replaced."""


async def test_other_releases_are_used_unchanged(
    clients: list[auth.Client],
    certificates: CertificateCache,
    keys: KeyRing,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A release with other functions is not guessed at: it verifies as it is, and the log says so."""
    with monkeypatch.context() as patch:
        patch.setattr(google.auth.jwt, "decode", _other_decode)
        verification = admin_verification(clients[0], certificates)
    assert isinstance(verification, UnchangedVerification)
    assert verification.is_in_memory
    assert isinstance(result(verification, token(keys)), dict)
    assert "firebase-admin is used unchanged" in caplog.text


class MovedAdmin:
    """The token verifier of a firebase-admin without the private attribute `request`."""


async def test_a_firebase_admin_with_another_fetcher_is_reported(
    clients: list[auth.Client], certificates: CertificateCache, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says that firebase-admin fetches the certificates itself, and it is not taken to be in memory."""
    clients[0]._token_verifier = MovedAdmin()
    verification = admin_verification(clients[0], certificates)
    assert isinstance(verification, UnchangedVerification)
    assert not verification.is_in_memory
    assert "it fetches them itself" in caplog.text
