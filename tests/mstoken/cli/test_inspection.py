"""`mstoken inspect`."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from mstoken.claims import ServiceClaims
from mstoken.cli.inspection import Inspection, inspected
from mstoken.proof import ProofKey
from mstoken.strict_jwt import base64url
from mstoken.testing import FakeFirebase
from mstoken.wire import MAX_TOKEN_BYTES
from tests.clock import FakeClock
from tests.mstoken.cli.conftest import Run

NOW = 1_800_000_000
PROJECT = "demo-test"
TOKEN_SERVICE = "https://us-central1-shop.cloudfunctions.net/token"
CUSTOM_TOKEN_AUDIENCE = "https://identitytoolkit.googleapis.com/google.identity.identitytoolkit.v1.IdentityToolkit"


def inspect_at(token: str, *, after: float = 0, project: str = PROJECT) -> Inspection:
    """Inspect a token that many seconds after `NOW`."""
    return inspected(token, NOW + after, {"GOOGLE_CLOUD_PROJECT": project, "MSTOKEN_TOKEN_SERVICE_URL": TOKEN_SERVICE})


def errors(token: str, *, after: float = 0, project: str = PROJECT) -> list[str]:
    return list(inspect_at(token, after=after, project=project).errors)


def service_token(**claims: Any) -> str:
    """Return a fresh token of Billing for Product, issued at `NOW`."""
    firebase = FakeFirebase(PROJECT, clock=FakeClock(NOW))
    ours = ServiceClaims.fresh("billing", "product", minted_at=NOW).as_developer_claims()
    return firebase.issue("svc:billing", provider="custom", **(ours | claims))


def minted(at: int) -> dict[str, Any]:
    """Return the claims of a fresh token that was minted at that time, in seconds since the epoch."""
    return ServiceClaims.fresh("billing", "product", minted_at=at).as_developer_claims()


def bound_token(**claims: Any) -> str:
    firebase = FakeFirebase(PROJECT, clock=FakeClock(NOW))
    ours = ServiceClaims.bound("billing", "product", ProofKey().thumbprint, minted_at=NOW).as_developer_claims()
    return firebase.issue("svc:billing", provider="custom", **(ours | claims))


def user_token(**claims: Any) -> str:
    return FakeFirebase(PROJECT, clock=FakeClock(NOW)).issue("maya", provider="password", **claims)


def written(header: Mapping[str, Any], payload: Mapping[str, Any], signature: str = "c2lnbmF0dXJl") -> str:
    """Return a JWT with exactly this content."""
    return ".".join((*(base64url(json.dumps(part).encode()) for part in (header, payload)), signature))


def claims_of(token: str, **changes: Any) -> dict[str, Any]:
    """Return the claims of a token with changes. A claim that is changed to None is left out."""
    claims = jwt.decode(token, options={"verify_signature": False}) | changes
    return {name: value for name, value in claims.items() if value is not None}


RS256 = {"alg": "RS256", "kid": "some-key", "typ": "JWT"}
NONE = {"alg": "none", "typ": "JWT"}


def google_token(**changes: Any) -> str:
    claims = {
        "iss": "https://accounts.google.com",
        "aud": TOKEN_SERVICE,
        "sub": "1",
        "email": "billing@demo-shop.iam.gserviceaccount.com",
        "email_verified": True,
        "iat": NOW,
        "exp": NOW + 3600,
    }
    return written(RS256, {name: value for name, value in (claims | changes).items() if value is not None})


def custom_token(header: Mapping[str, Any] = RS256, signature: str = "c2lnbmF0dXJl", **changes: Any) -> str:
    account = "token@demo-shop.iam.gserviceaccount.com"
    times = {"iat": NOW, "exp": NOW + 3600}
    ours = {"iss": account, "sub": account, "aud": CUSTOM_TOKEN_AUDIENCE, "uid": "svc:billing"}
    return written(header, {**ours, **times, **changes}, signature)


def assertion(**changes: Any) -> str:
    claims = {"iss": "warehouse", "sub": "warehouse", "aud": TOKEN_SERVICE, "jti": "x", "iat": NOW, "exp": NOW + 60}
    return jwt.encode(claims | changes, ec.generate_private_key(ec.SECP256R1()), "ES256")


def proof(*, issued_at: float = NOW) -> str:
    return ProofKey().proof("GET", "https://product.example.com/products", "token", issued_at=issued_at)


def proof_with(header: Mapping[str, Any] | None = None, **claims: Any) -> str:
    whole = {**jwt.get_unverified_header(proof()), **(header or {})}
    return written(whole, claims_of(proof(), **claims))


@pytest.mark.parametrize(
    ("token", "kind"),
    [
        (service_token(), "service_token_fresh"),
        (bound_token(), "service_token_bound"),
        (user_token(), "user_id_token"),
        (custom_token(), "custom_token"),
        (google_token(), "google_identity_token"),
        (assertion(), "assertion"),
        (proof(), "proof"),
        (written(RS256, {"iss": "https://session.firebase.google.com/x", "iat": NOW, "exp": NOW + 9}), "unknown"),
        (written(RS256, {"iss": 7}), "unknown"),
        (written(RS256, {}), "unknown"),
    ],
    ids=["fresh", "bound", "user", "custom", "google", "assertion", "proof", "cookie", "odd", "empty"],
)
def test_the_kind_of_a_token(token: str, kind: str) -> None:
    """Every kind of token that this library sends is recognized, and a valid one has no errors."""
    inspection = inspect_at(token)
    assert (inspection.kind, inspection.errors) == (kind, {})
    assert inspection.header == jwt.get_unverified_header(token)
    assert inspection.claims == claims_of(token)


@pytest.mark.parametrize(
    ("token", "found"),
    [
        (service_token(ms={"v": 2}), ["not_service"]),
        (service_token(sub="maya"), ["not_service"]),
        (service_token(aud="demo-other"), ["wrong_audience"]),
        (service_token(iat=NOW + 60, auth_time=NOW + 60), ["from_the_future"]),
        (service_token(**minted(NOW + 60)), ["from_the_future"]),
        (written({**RS256, "alg": "HS256"}, claims_of(user_token())), ["wrong_algorithm"]),
        (written(NONE, claims_of(user_token()), ""), ["unsigned"]),
        (written(NONE, claims_of(user_token())), ["unsigned"]),
        (written(RS256, claims_of(user_token()), ""), ["unsigned"]),
        (custom_token(NONE, ""), ["unsigned"]),
        (custom_token({"alg": "ES256"}), ["wrong_algorithm"]),
        (google_token(aud="https://elsewhere.example.com"), ["wrong_audience"]),
        (assertion(aud="https://elsewhere.example.com"), ["wrong_audience"]),
        (proof_with({"alg": "RS256"}), ["wrong_algorithm"]),
        (proof_with(iat=NOW + 60), ["from_the_future"]),
        (user_token(exp=NOW - 600, aud="demo-other"), ["expired", "wrong_audience"]),
        ("", ["malformed"]),
        ("a.b", ["malformed"]),
        ("Bearer " + user_token(), ["malformed"]),
        ("é" + user_token(), ["malformed"]),
        (written(RS256, {}) + "=", ["malformed"]),
        ("a" * (MAX_TOKEN_BYTES + 1), ["malformed"]),
        (user_token(name="x" * MAX_TOKEN_BYTES), ["malformed"]),
    ],
    ids=lambda value: "" if isinstance(value, str) else ",".join(value),
)
def test_visible_errors_are_found(token: str, found: list[str]) -> None:
    """Each error has a name that does not change. No other error is reported."""
    assert errors(token) == found


@pytest.mark.parametrize(
    ("token", "valid_seconds", "then"),
    [
        (service_token(), 60, ["stale"]),
        (bound_token(), 3604, ["expired"]),
        (user_token(), 3604, ["expired"]),
        (google_token(), 3604, ["expired"]),
        (custom_token(), 3604, ["expired"]),
        (assertion(exp=NOW + 90), 60, ["stale"]),
        (proof(), 30, ["stale"]),
    ],
    ids=["fresh", "bound", "user", "google", "custom", "assertion", "proof"],
)
def test_the_age_of_a_token(token: str, valid_seconds: int, then: list[str]) -> None:
    """Each kind is valid for as long as the service that receives it accepts it, and not for a second longer."""
    assert errors(token, after=valid_seconds) == []
    assert errors(token, after=valid_seconds + 1) == then


def test_a_refreshed_token_is_not_fresh() -> None:
    """The age is counted from the sign-in, as the callee does."""
    assert errors(service_token(iat=NOW + 100, exp=NOW + 3700), after=100) == ["stale"]


def test_another_sign_in_does_not_make_a_token_fresh() -> None:
    """The age is counted from the minting of the custom token, if that was earlier than the sign-in."""
    assert errors(service_token(**minted(NOW - 60))) == []
    assert errors(service_token(**minted(NOW - 61))) == ["stale"]
    assert errors(bound_token(iat=NOW + 7200, auth_time=NOW + 7200, exp=NOW + 10_800), after=7200) == ["stale"]


@pytest.mark.parametrize(
    "token",
    [service_token(), bound_token(), custom_token(claims=minted(NOW))],
    ids=["fresh", "bound", "custom"],
)
def test_the_time_of_minting_is_shown(token: str) -> None:
    """Service tokens have it, and custom tokens, from which they come."""
    assert inspect_at(token, after=12).times["ms.iat"] == "12 s ago, at 2027-01-15 08:00:00 UTC"


@pytest.mark.parametrize("ms", [None, [], "x", {}, {"iat": "soon"}, {"iat": True}])
def test_a_token_without_a_valid_time_of_minting(ms: Any) -> None:
    """No time is shown."""
    assert "ms.iat" not in inspect_at(service_token(ms=ms)).times
    assert "ms.iat" not in inspect_at(custom_token(claims={"ms": ms})).times
    assert "ms.iat" not in inspect_at(custom_token(claims=ms)).times


def test_the_audience_is_not_checked_without_settings() -> None:
    """It is compared with GOOGLE_CLOUD_PROJECT or MSTOKEN_TOKEN_SERVICE_URL, if they are set."""
    for token in (service_token(), google_token()):
        assert inspected(token, NOW, {}).errors == {}
    assert errors(service_token(), project="demo-other") == ["wrong_audience"]


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (12, {"iat": "12 s ago", "exp": "in 60 min"}),
        (300, {"iat": "5 min ago", "exp": "in 55 min"}),
        (3610, {"iat": "60 min ago", "exp": "10 s ago"}),
        (3 * 86_400, {"iat": "3 days ago", "exp": "3 days ago"}),
        (-20, {"iat": "in 20 s", "exp": "in 60 min"}),
    ],
)
def test_times_are_shown_in_words(after: float, words: dict[str, str]) -> None:
    """Each time is shown relative to now, and as date and time in UTC."""
    times = inspect_at(service_token(), after=after).times
    assert {name: times[name].partition(", at ")[0] for name in words} == words
    assert times["iat"].endswith(", at 2027-01-15 08:00:00 UTC")


def test_a_time_after_the_year_9999() -> None:
    """No calendar has it, so it is shown relative to now only."""
    assert "at" not in inspect_at(service_token(exp=10**19)).times["exp"].split()


@pytest.mark.parametrize("value", ["soon", 1.5, -1, True, None, [], {}])
def test_a_claim_that_is_not_a_time(value: Any) -> None:
    """It is shown as a claim only."""
    inspection = inspected(written(RS256, {"iat": value}), NOW, {})
    assert (inspection.claims, inspection.times) == ({"iat": value}, {})


def test_a_private_key_is_not_shown(run: Run) -> None:
    """A proof whose jwk is a private key is an error, and the private members are not printed."""
    private = ec.generate_private_key(ec.SECP256R1())
    jwk = jwt.algorithms.ECAlgorithm.to_jwk(private, as_dict=True)
    token = proof_with({"jwk": jwk})
    assert errors(token) == ["private_key"]
    for result in (run("inspect", token), run("inspect", token, "--json")):
        assert "(hidden)" in result.stdout
        assert jwk["x"] in result.stdout
        assert jwk["d"] not in result.output


def now_token(**claims: Any) -> str:
    """Return a fresh service token that is issued now."""
    ours = ServiceClaims.fresh("billing", "product", minted_at=time.time()).as_developer_claims()
    return FakeFirebase(PROJECT).issue("svc:billing", provider="custom", **(ours | claims))


def test_the_output_says_that_nothing_was_verified(run: Run) -> None:
    """The first line says so, and so does the JSON. Without visible errors the exit status is 0."""
    token = now_token()
    result = run("inspect", token)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("NOT VERIFIED: ")
    assert "It is a fresh service token, for one call." in result.stdout
    assert '"svc:billing"' in result.stdout
    assert "Nothing is visibly wrong." in result.stdout
    answer = json.loads(run("inspect", token, "--json").stdout)
    assert answer["verified"] is False
    assert (answer["kind"], answer["errors"]) == ("service_token_fresh", {})
    assert answer["claims"]["ms"]["svc"] == "billing"
    assert answer["header"]["alg"] == "RS256"
    assert answer["times"].keys() == {"ms.iat", "iat", "auth_time", "exp"}


def test_visible_errors_have_exit_status_1(run: Run) -> None:
    """The text has a line for each error. The JSON has a sentence for each name."""
    token = now_token(exp=int(time.time()) - 600)
    result = run("inspect", token)
    assert result.exit_code == 1
    assert "WRONG  It expired 10 min ago." in result.stdout
    as_json = run("inspect", token, "--json", env={"GOOGLE_CLOUD_PROJECT": "demo-other"})
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout)["errors"] == {
        "expired": "It expired 10 min ago.",
        "wrong_audience": "Its audience (aud) is not demo-other, the value of GOOGLE_CLOUD_PROJECT.",
    }
    assert run("inspect", "nonsense").exit_code == 1


def test_the_token_can_be_read_from_stdin(run: Run) -> None:
    """The argument is a dash, so that the token is not in the history of a shell. Space around the token is ignored."""
    assert run("inspect", "-", stdin=f"  {now_token()}\r\n").exit_code == 0
    assert run("inspect", "-", stdin="").exit_code == 1


def test_the_token_is_not_repeated(run: Run) -> None:
    """No output contains a part of the token, not even that for wrong usage."""
    token = now_token()
    for result in (run("inspect", token), run("inspect", token, "--json"), run("inspect", token + "!")):
        assert not any(part in result.output for part in token.split("."))
    two = run("inspect", "Bearer", token)
    assert two.exit_code == 2
    assert "expected one token" in two.stderr
    assert not any(part in two.output for part in token.split("."))


def test_a_token_cannot_control_the_terminal(run: Run) -> None:
    """Control characters in the token are printed as escapes."""
    token = now_token(**{"na\x1b[2Jme": "\x1b[2J\x9b\u202e"})
    shown = run("inspect", token).stdout
    assert all(character.isprintable() for character in shown if character != "\n")
    assert "\\x1b[2Jme" in shown


@pytest.mark.process
def test_no_connection_is_made() -> None:
    """With any settings, the command neither connects nor looks up a name. If it did, an audit hook would end it."""
    program = (
        "import sys; from mstoken.cli import main\n"
        "def hook(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo', 'socket.sendto'): sys.exit(77)\n"
        "sys.addaudithook(hook); main()"
    )
    env = {"GOOGLE_CLOUD_PROJECT": PROJECT, "MSTOKEN_API_KEY": "key", "MSTOKEN_TOKEN_SERVICE_URL": TOKEN_SERVICE}
    for token in (now_token(), google_token(), proof()):
        command = [sys.executable, "-c", program, "inspect", token]
        result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert result.returncode in (0, 1)
        assert result.stdout.startswith("NOT VERIFIED: ")
        assert result.stderr == ""
