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
from mstoken.cli.inspection import Expected, Inspection, inspected
from mstoken.cli.key_files import Kind, new_key
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


def seen(token: str, *, after: float = 0, project: str | None = PROJECT) -> Inspection:
    """What is seen of a token so many seconds after `NOW`."""
    return inspected(token, Expected(NOW + after, project, TOKEN_SERVICE))


def faults(token: str, *, after: float = 0, project: str | None = PROJECT) -> list[str]:
    return [fault.name for fault in seen(token, after=after, project=project).faults]


def service_token(**claims: Any) -> str:
    """A fresh token of Billing for Product, made at `NOW`."""
    firebase = FakeFirebase(PROJECT, clock=FakeClock(NOW))
    ours = ServiceClaims.fresh("billing", "product").as_developer_claims()
    return firebase.issue("svc:billing", provider="custom", **(ours | claims))


def bound_token(**claims: Any) -> str:
    firebase = FakeFirebase(PROJECT, clock=FakeClock(NOW))
    ours = ServiceClaims.bound("billing", "product", ProofKey().thumbprint).as_developer_claims()
    return firebase.issue("svc:billing", provider="custom", **(ours | claims))


def user_token(**claims: Any) -> str:
    return FakeFirebase(PROJECT, clock=FakeClock(NOW)).issue("maya", provider="password", **claims)


def written(header: Mapping[str, Any], payload: Mapping[str, Any], signature: str = "c2lnbmF0dXJl") -> str:
    """A JWT with just this in it."""
    return ".".join((*(base64url(json.dumps(part).encode()) for part in (header, payload)), signature))


def claims_of(token: str, **changes: Any) -> dict[str, Any]:
    """The claims of a token; those that are changed to None are left out."""
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
    return jwt.encode(claims | changes, new_key(Kind.ES256), "ES256")


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
    ],
    ids=["fresh", "bound", "user", "custom", "google", "assertion", "proof"],
)
def test_each_kind_is_told(token: str, kind: str) -> None:
    """Every token that goes over the wire is recognized, and nothing is found wrong with a good one."""
    inspection = seen(token)
    assert (inspection.kind, inspection.faults) == (kind, ())
    assert inspection.claims == jwt.decode(token, options={"verify_signature": False})


@pytest.mark.parametrize(
    ("token", "found"),
    [
        (service_token(ms={"v": 2}), ["not_service"]),
        (service_token(sub="maya"), ["not_service"]),
        (service_token(aud="demo-other"), ["wrong_issuer", "wrong_project"]),
        (service_token(aud="demo-other", iss="https://securetoken.google.com/demo-other"), ["wrong_project"]),
        (service_token(exp=NOW + 7200), ["lives_too_long"]),
        (service_token(exp="soon"), ["time_invalid"]),
        (service_token(auth_time=NOW + 2), ["time_invalid"]),
        (service_token(iat=NOW + 60, auth_time=NOW + 60), ["from_the_future"]),
        (user_token(sub=""), ["no_uid"]),
        (user_token(firebase={"sign_in_provider": "password", "tenant": "one"}), ["not_of_a_sign_in"]),
        (written({"alg": "RS256"}, claims_of(user_token())), ["header_invalid"]),
        (written({**RS256, "crit": ["x"]}, claims_of(user_token())), ["header_invalid"]),
        (written({**RS256, "alg": "HS256"}, claims_of(user_token())), ["not_rs256"]),
        (written(NONE, claims_of(user_token()), ""), ["unsigned"]),
        (written(NONE, claims_of(user_token())), ["unsigned"]),
        (written(RS256, claims_of(user_token()), ""), ["unsigned"]),
        (custom_token(NONE, ""), ["unsigned"]),
        (custom_token({"alg": "ES256"}), ["not_rs256"]),
        (custom_token(uid=7), ["no_uid"]),
        (google_token(aud="https://elsewhere.example.com"), ["wrong_audience"]),
        (google_token(email=None), ["no_account"]),
        (google_token(email_verified="true"), ["no_account"]),
        (assertion(aud="https://elsewhere.example.com"), ["wrong_audience"]),
        (assertion(jti=None), ["no_id"]),
        (proof_with({"alg": "RS256"}), ["header_invalid"]),
        (proof_with({"jwk": {"kty": "RSA"}}), ["key_invalid"]),
        (proof_with(htu=None, ath=None), ["claims_missing"]),
        (proof_with(iat="now"), ["time_invalid"]),
        (proof_with(iat=NOW + 60), ["from_the_future"]),
        (
            written(RS256, {"iss": "https://session.firebase.google.com/x", "iat": NOW, "exp": NOW + 9}),
            ["not_for_calls"],
        ),
        (written(RS256, {"iat": NOW, "exp": NOW + 9}), ["not_for_calls"]),
        ("", ["malformed"]),
        ("a.b", ["malformed"]),
        ("Bearer " + user_token(), ["malformed"]),
        ("é" + user_token(), ["malformed"]),
        (written(RS256, {}) + "=", ["malformed"]),
        ("a" * (MAX_TOKEN_BYTES + 1), ["too_long"]),
        (user_token(name="x" * MAX_TOKEN_BYTES), ["too_long"]),
    ],
    ids=lambda value: "" if isinstance(value, str) else ",".join(value),
)
def test_what_is_wrong_is_found(token: str, found: list[str]) -> None:
    """What a callee or the token service would refuse at sight is named, and only that."""
    assert faults(token) == found


@pytest.mark.parametrize(
    ("token", "fine_for", "then"),
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
def test_tokens_age(token: str, fine_for: int, then: list[str]) -> None:
    """Each kind is fine for as long as those who take it say, and not for a second longer."""
    assert faults(token, after=fine_for) == []
    assert faults(token, after=fine_for + 1) == then


def test_a_refreshed_token_is_not_fresh() -> None:
    """What counts is when the service signed in, as it does for the callee."""
    assert faults(service_token(iat=NOW + 100, exp=NOW + 3700), after=100) == ["stale"]


def test_any_project_will_do_where_none_is_known() -> None:
    """The project is compared with GOOGLE_CLOUD_PROJECT, if that is set."""
    assert faults(service_token(), project=None) == []
    assert faults(service_token(), project="demo-other") == ["wrong_project"]


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (12, {"iat": "issued 12 s ago", "exp": "expires in 60 min"}),
        (300, {"iat": "issued 5 min ago", "exp": "expires in 55 min"}),
        (3610, {"iat": "issued 60 min ago", "exp": "expired 10 s ago"}),
        (3 * 86_400, {"iat": "issued 3 days ago", "exp": "expired 3 days ago"}),
        (-20, {"iat": "to be issued in 20 s", "exp": "expires in 60 min"}),
    ],
)
def test_times_in_words(after: float, words: dict[str, str]) -> None:
    """Nobody has to subtract seconds since 1970."""
    facts = seen(service_token(), after=after).facts
    assert {name: facts[name].partition(", at ")[0] for name in words} == words
    assert facts["iat"].endswith(", at 2027-01-15 08:00:00 UTC")
    assert facts["call"] == "billing calls product"


def test_a_time_beyond_the_calendar() -> None:
    """A claim that no calendar has is still shown."""
    assert "at" not in seen(service_token(exp=10**19)).facts["exp"].split()


def test_the_key_of_a_proof() -> None:
    """Its thumbprint is shown, since a bound token has that one in it."""
    key = ProofKey()
    token = key.proof("GET", "https://product.example.com/", "token", issued_at=NOW)
    assert key.thumbprint in seen(token).facts["key"]


def test_a_private_key_is_not_shown(run: Run) -> None:
    """A proof whose jwk is a private key is wrong, and what is private of it is not printed."""
    private = ec.generate_private_key(ec.SECP256R1())
    jwk = jwt.algorithms.ECAlgorithm.to_jwk(private, as_dict=True)
    token = proof_with({"jwk": jwk})
    assert faults(token) == ["key_invalid"]
    for result in (run("inspect", token), run("inspect", token, "--json")):
        assert "(hidden)" in result.stdout
        assert jwk["d"] not in result.output


def now_token(**claims: Any) -> str:
    """A fresh service token of this moment."""
    ours = ServiceClaims.fresh("billing", "product").as_developer_claims()
    return FakeFirebase(PROJECT).issue("svc:billing", provider="custom", **(ours | claims))


def test_it_says_that_nothing_was_verified(run: Run) -> None:
    """In the first line of the text, and in JSON; even where nothing is wrong to see, which ends with 0."""
    token = now_token()
    result = run("inspect", token)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("NOT VERIFIED: ")
    assert "It is a fresh service token, for one call." in result.stdout
    assert "billing calls product" in result.stdout
    assert '"svc:billing"' in result.stdout
    assert "Nothing wrong can be seen." in result.stdout
    told = json.loads(run("inspect", token, "--json").stdout)
    assert told["verified"] is False
    assert (told["kind"], told["findings"]) == ("service_token_fresh", [])
    assert told["claims"]["ms"]["svc"] == "billing"


def test_what_is_wrong_ends_with_1(run: Run) -> None:
    """The text says each in a line, JSON by a name that stays."""
    token = now_token(exp=int(time.time()) - 600)
    result = run("inspect", token)
    assert result.exit_code == 1
    assert "WRONG  It has expired 10 min ago." in result.stdout
    as_json = run("inspect", token, "--json", env={"GOOGLE_CLOUD_PROJECT": "demo-other"})
    assert as_json.exit_code == 1
    assert [one["name"] for one in json.loads(as_json.stdout)["findings"]] == ["expired", "wrong_project"]
    assert run("inspect", "nonsense").exit_code == 1


def test_it_reads_stdin(run: Run) -> None:
    """A dash stands for stdin, so that the token is in no shell's history; spaces around it do not matter."""
    assert run("inspect", "-", stdin=f"  {now_token()}\r\n").exit_code == 0
    assert run("inspect", "-", stdin="").exit_code == 1


def test_the_token_is_not_repeated(run: Run) -> None:
    """Neither it nor its signature is in any output, and not in what is said of wrong usage either."""
    token = now_token()
    for result in (run("inspect", token), run("inspect", token, "--json"), run("inspect", token + "!")):
        assert not any(part in result.output for part in token.split("."))
    two = run("inspect", "Bearer", token)
    assert two.exit_code == 2
    assert "one token is wanted" in two.stderr
    assert not any(part in two.output for part in token.split("."))


def test_a_token_cannot_talk_to_the_terminal(run: Run) -> None:
    """What stands in it is printed with escapes."""
    token = now_token(**{"na\x1b[2Jme": "\x1b[2J\x9b\u202e"})
    shown = run("inspect", token).stdout
    assert all(one.isprintable() for one in shown if one != "\n")
    assert "\\x1b[2Jme" in shown


@pytest.mark.process
def test_it_asks_nobody() -> None:
    """No connection is made and no name looked up, whatever the settings; a process that does so ends at once."""
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
