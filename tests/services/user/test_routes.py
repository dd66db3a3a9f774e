"""The whole User service over HTTP"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from mstoken.testing import FakeFirebase
from services.user.app import create_app
from services.user.settings import UserSettings
from tests.services.shop import ADDRESS, answered, refused, serving
from tests.services.user.fakes import SETTINGS, FakeProject, failure

MAYA = {"email": "maya@example.com", "password": "kettle-harbour-1"}


@pytest.fixture
def project(firebase: FakeFirebase) -> FakeProject:
    """A Firebase project in memory."""
    return FakeProject(firebase)


@pytest.fixture
async def user(project: FakeProject, database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """The User service, without users."""
    app = create_app(
        UserSettings(database_url=database_url),
        firebase=SETTINGS,
        verifier=project.verifier(),
        sessions=project,
        transport=project.transport(),
        failed_log_in_seconds=0.0,
    )
    async with serving(app) as client:
        yield client


async def sign_up(user: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    session: dict[str, Any] = answered(await user.post("/signup", json=MAYA | changes), 201)
    return session


def bearer(session: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {session['id_token']}"}


@pytest.mark.both_databases
async def test_sign_up_log_in_and_refresh(user: httpx.AsyncClient) -> None:
    """After a sign-up, log-in and refresh work. Each answers with a session that must not be cached."""
    made = await sign_up(user)
    response = await user.post("/login", json=MAYA)
    session = answered(response)
    assert response.headers["Cache-Control"] == "no-store"
    assert set(session) == set(made) == {"uid", "id_token", "refresh_token", "expires_in"}
    assert (session["uid"], session["expires_in"]) == (made["uid"], 3600)
    body = {"refresh_token": session["refresh_token"]}
    assert answered(await user.post("/token/refresh", json=body))["uid"] == made["uid"]


async def test_an_email_address_has_no_case(user: httpx.AsyncClient, project: FakeProject) -> None:
    """Upper and lower case, and spaces around it, do not change the account of an e-mail address."""
    await sign_up(user, email=" Maya@Example.COM ")
    assert project.accounts[0].email == "maya@example.com"
    answered(await user.post("/login", json=MAYA | {"email": "MAYA@example.com"}))


@pytest.mark.parametrize(
    "change",
    [
        {"email": "maya"},
        {"email": "maya@"},
        {"email": "\0@example.com"},
        {"email": "a" * 300 + "@example.com"},
        {"email": None},
        {"password": "seven77"},
        {"password": "x" * 129},
        {"password": "\ud800 password"},
        {"password": 12345678},
        {"display_name": ""},
        {"display_name": "x" * 201},
        {"role": "admin"},
    ],
)
async def test_an_invalid_account(user: httpx.AsyncClient, project: FakeProject, change: dict[str, Any]) -> None:
    """An invalid account is refused before Firebase is asked, and the answer does not contain the password."""
    body = json.dumps(MAYA | change)  # in ASCII, which can spell half a surrogate pair
    response = await user.post("/signup", content=body, headers={"Content-Type": "application/json"})
    refused(response, 422, "request_invalid")
    assert "kettle-harbour-1" not in response.text
    assert project.requests == []


@pytest.mark.parametrize("password", ["password1", "maya1234", "maya@example.com", "Lindgren-1"])
async def test_a_password_that_attackers_try_first(
    user: httpx.AsyncClient, project: FakeProject, password: str
) -> None:
    """A common password, or one made from the e-mail address or the name, is refused before Firebase is asked.

    The answer says what is wrong, and does not repeat the password. Trying another one is not a failed log-in.
    """
    for _ in range(11):
        response = await user.post("/signup", json=MAYA | {"password": password, "display_name": "Maya Lindgren"})
        problem = refused(response, 422, "account_refused")
        assert "Choose a longer one" in problem["detail"]
        assert password not in response.text
    assert project.requests == []
    await sign_up(user)


async def test_an_old_password_is_accepted_at_log_in(user: httpx.AsyncClient, project: FakeProject) -> None:
    """A user with an account from elsewhere logs in, whatever the password is."""
    await sign_up(user)
    project.accounts[0].password = "password1"
    answered(await user.post("/login", json=MAYA | {"password": "password1"}))


async def test_an_email_address_that_is_taken(user: httpx.AsyncClient) -> None:
    """A second account with the same e-mail address is refused."""
    await sign_up(user)
    refused(await user.post("/signup", json=MAYA), 409, "email_taken")


async def test_wrong_and_unknown_and_disabled_look_the_same(user: httpx.AsyncClient, project: FakeProject) -> None:
    """The answer does not tell a wrong password from an unknown address or a disabled account."""
    await sign_up(user)
    answers = [await user.post("/login", json=MAYA | {"password": "wrong"})]
    answers.append(await user.post("/login", json=MAYA | {"email": "nobody@example.com"}))
    project.accounts[0].disabled = True
    answers.append(await user.post("/login", json=MAYA))
    for answer in answers:
        refused(answer, 401, "credentials_invalid")
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="user"'
    assert len({answer.text for answer in answers}) == 1


async def test_too_many_attempts(user: httpx.AsyncClient, project: FakeProject) -> None:
    """If Firebase has seen too many attempts, the answer says when to try again."""
    project.outcome = failure("TOO_MANY_ATTEMPTS_TRY_LATER : later")
    response = await user.post("/login", json=MAYA)
    refused(response, 429, "too_many_attempts")
    assert response.headers["Retry-After"] == "60"


async def test_firebase_is_unavailable(user: httpx.AsyncClient, project: FakeProject) -> None:
    """While Firebase is unavailable, a log-in is answered with 503."""
    project.outcome = httpx.ConnectError("no route")
    response = await user.post("/login", json=MAYA)
    refused(response, 503, "firebase_unavailable")
    assert response.headers["Retry-After"] == "5"


async def test_log_out(user: httpx.AsyncClient) -> None:
    """After a log-out neither token of the session works, and a log-in right after it does."""
    session = await sign_up(user)
    answered(await user.get("/profile", headers=bearer(session)))
    response = await user.post("/logout", headers=bearer(session))
    assert (response.status_code, response.content) == (204, b"")
    refused(await user.get("/profile", headers=bearer(session)), 401, "user_token_revoked")
    body = {"refresh_token": session["refresh_token"]}
    refused(await user.post("/token/refresh", json=body), 401, "refresh_token_invalid")
    again = answered(await user.post("/login", json=MAYA))
    answered(await user.get("/profile", headers=bearer(again)))


@pytest.mark.parametrize(("method", "path"), [("POST", "/logout"), ("GET", "/profile"), ("PATCH", "/profile")])
async def test_routes_for_users(user: httpx.AsyncClient, project: FakeProject, method: str, path: str) -> None:
    """Log-out and profile refuse services and callers without a token."""
    refused(await user.request(method, path, json={}), 401, "user_token_missing")
    service = project.firebase.service_auth("billing", to="user")
    refused(await user.request(method, path, json={}, auth=service), 403, "caller_not_allowed")


@pytest.mark.both_databases
async def test_a_new_profile(user: httpx.AsyncClient, project: FakeProject) -> None:
    """A new user's profile has the name and e-mail address of the sign-up, or else of the token."""
    session = await sign_up(user, display_name=" Maya Lindgren ")
    profile = answered(await user.get("/profile", headers=bearer(session)))
    empty = {"phone": None, "address": None}
    assert profile == {"uid": "uid-0", "email": "maya@example.com", "display_name": "Maya Lindgren"} | empty
    headers = project.firebase.user_headers("other", email="o@example.com", name="Other")
    profile = answered(await user.get("/profile", headers=headers))
    assert profile == {"uid": "other", "email": "o@example.com", "display_name": "Other"} | empty


@pytest.mark.both_databases
async def test_concurrent_first_requests(user: httpx.AsyncClient, project: FakeProject) -> None:
    """A new user whose first requests arrive at the same time has one profile."""
    requests = [user.get("/profile", headers=project.firebase.user_headers("maya", name="Maya")) for _ in range(8)]
    profiles = [answered(response) for response in await asyncio.gather(*requests)]
    assert profiles == [profiles[0]] * 8


@pytest.mark.both_databases
async def test_a_profile_is_changed_in_part(user: httpx.AsyncClient) -> None:
    """A change sets the fields that it names, and null clears them."""
    headers = bearer(await sign_up(user, display_name="Maya"))
    phone = "+15035550142"
    answered(await user.patch("/profile", json={"phone": phone, "address": ADDRESS}, headers=headers))
    changed = answered(await user.patch("/profile", json={"display_name": None}, headers=headers))
    assert changed == {
        "uid": "uid-0",
        "email": "maya@example.com",
        "display_name": None,
        "phone": phone,
        "address": ADDRESS,
    }
    assert answered(await user.patch("/profile", json={}, headers=headers)) == changed
    cleared = answered(await user.patch("/profile", json={"address": None}, headers=headers))
    assert cleared == changed | {"address": None}
    assert answered(await user.get("/profile", headers=headers)) == cleared


@pytest.mark.parametrize(
    "changes",
    [
        {"phone": "5035550142"},
        {"phone": "+1 503 555"},
        {"phone": "+0123"},
        {"phone": "+1234567890123456"},
        {"address": ADDRESS | {"country": "ZZ"}},
        {"address": {"city": "Portland"}},
        {"email": "new@example.com"},
        {"uid": "x"},
        {"display_name": "a\0b"},
    ],
)
async def test_an_invalid_change(user: httpx.AsyncClient, changes: dict[str, Any]) -> None:
    """Phone numbers must be E.164, addresses complete and in an existing country. Other fields are refused."""
    headers = bearer(await sign_up(user))
    refused(await user.patch("/profile", json=changes, headers=headers), 422, "request_invalid")


@pytest.mark.both_databases
async def test_billing_reads_a_user(user: httpx.AsyncClient, project: FakeProject) -> None:
    """Billing gets the name and address of a user, and nothing else."""
    session = await sign_up(user, display_name="Maya Lindgren")
    answered(await user.patch("/profile", json={"address": ADDRESS, "phone": "+15035550142"}, headers=bearer(session)))
    response = await user.get("/users/uid-0", auth=project.firebase.service_auth("billing", to="user"))
    assert answered(response) == {"uid": "uid-0", "name": "Maya Lindgren", "address": ADDRESS}


async def test_billing_reads_an_unknown_user(user: httpx.AsyncClient, project: FakeProject) -> None:
    """A user who has never used the service is not found."""
    billing = project.firebase.service_auth("billing", to="user")
    refused(await user.get("/users/nobody", auth=billing), 404, "user_not_found")


async def test_only_billing_may_read_users(user: httpx.AsyncClient, project: FakeProject) -> None:
    """Users, administrators and other services may not read users. A user's token is not looked at."""
    admin = project.firebase.user_headers("ines", role="admin")
    refused(await user.get("/users/uid-0", headers=admin), 401, "token_missing")
    product = project.firebase.service_auth("product", to="user")
    refused(await user.get("/users/uid-0", auth=product), 403, "caller_not_allowed")
    refused(await user.get("/users/uid-0"), 401, "token_missing")


async def test_passwords_and_tokens_are_not_logged(user: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    """The log of sign-ups, log-ins, refreshes and refusals does not contain passwords or tokens."""
    caplog.set_level("INFO")
    session = await sign_up(user)
    await user.post("/login", json=MAYA | {"password": "kettle-harbour-2"})
    await user.post("/token/refresh", json={"refresh_token": session["refresh_token"]})
    await user.post("/signup", json=MAYA | {"email": "no"})
    written = "".join(str(record.__dict__) for record in caplog.records if record.name != "httpx")
    assert "/token/refresh" in written
    secrets = ["kettle-harbour-1", "kettle-harbour-2", session["id_token"], session["refresh_token"]]
    assert not [secret for secret in secrets if secret in written]


@pytest.mark.both_databases
async def test_guesses_of_a_password_are_limited(user: httpx.AsyncClient) -> None:
    """After ten failures the answer is 429 with the seconds to wait. Other accounts are not affected."""
    await sign_up(user)
    await sign_up(user, email="tomas@example.com")
    wrong = MAYA | {"password": "wrong-password"}
    guesses = await asyncio.gather(*(user.post("/login", json=wrong) for _ in range(12)))
    assert sorted(guess.status_code for guess in guesses) == [401] * 10 + [429] * 2
    response = await user.post("/login", json=MAYA)
    refused(response, 429, "too_many_attempts")
    assert 0 < int(response.headers["Retry-After"]) <= 40
    answered(await user.post("/login", json=MAYA | {"email": "tomas@example.com"}))


@pytest.mark.both_databases
async def test_sign_ups_and_refreshes_are_limited(user: httpx.AsyncClient) -> None:
    """After thirty sign-ups, or ten refreshes of a session, the answer is 429 with the seconds to wait."""
    session = await sign_up(user)
    emails = [f"u{number}@example.com" for number in range(30)]
    sign_ups = await asyncio.gather(*(user.post("/signup", json=MAYA | {"email": email}) for email in emails))
    assert sorted(answer.status_code for answer in sign_ups) == [201] * 29 + [429]
    body = {"refresh_token": session["refresh_token"]}
    refreshes = await asyncio.gather(*(user.post("/token/refresh", json=body) for _ in range(11)))
    assert sorted(answer.status_code for answer in refreshes) == [200] * 10 + [429]
    for answer in (*sign_ups, *refreshes):
        if answer.status_code == 429:
            refused(answer, 429, "too_many_attempts")
            assert 0 < int(answer.headers["Retry-After"]) <= 70


@pytest.mark.parametrize("trusted_proxies", [0, 1])
async def test_customers_behind_a_proxy(project: FakeProject, database_url: str, trusted_proxies: int) -> None:
    """With TRUSTED_PROXIES=1 customers are told apart by the entry of the proxy; with 0 they share its address.

    Made-up entries before it change nothing.
    """
    app = create_app(
        UserSettings(database_url=database_url, trusted_proxies=trusted_proxies),
        firebase=SETTINGS,
        verifier=project.verifier(),
        sessions=project,
        transport=project.transport(),
        failed_log_in_seconds=0.0,
    )
    async with serving(app) as user:
        wrong = MAYA | {"password": "wrong-password"}
        stranger = [{"X-Forwarded-For": f"203.0.113.{number}, 198.51.100.1"} for number in range(12)]
        guesses = await asyncio.gather(*(user.post("/login", json=wrong, headers=headers) for headers in stranger))
        assert sorted(guess.status_code for guess in guesses) == [401] * 10 + [429] * 2
        other = await user.post("/login", json=wrong, headers={"X-Forwarded-For": "192.0.2.1"})
    assert other.status_code == (401 if trusted_proxies else 429)
