"""Credentials at the token service: Google's identity tokens and assertions, each refusal, and what is spent."""

import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Any, ClassVar, TypeAlias

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from google.auth import exceptions
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm

from emulator.local.keys import SECURETOKEN, Key
from mstoken.callee.certificates import CertificateCache, Fetched
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.errors import CredentialReplayed, CredentialUnknown, Refusal, VerifierUnavailable
from mstoken.issuer.credentials import CredentialVerifier, Proven
from mstoken.issuer.policy import Policy
from mstoken.jwk import thumbprint
from mstoken.strict_jwt import base64url, base64url_decode
from tests.clock import FakeClock
from tests.mstoken.callee.replay.fakes import ForgetfulReplayStore

URL = "https://us-central1-demo-shop.cloudfunctions.net/token"
GOOGLE = "https://accounts.google.com"
ACCOUNT = "billing@demo-shop.iam.gserviceaccount.com"
ASSERTION_MAX_AGE_SECONDS = 60
CLOCK_SKEW_SECONDS = 5
ABSENT: Any = object()
"""In place of a value: leave the parameter or the claim out."""

Signer: TypeAlias = Callable[[bytes], bytes]
"""Gives the signature over a signing input."""


def jws(header: Mapping[str, Any], claims: Mapping[str, Any], sign: Signer) -> str:
    """A JWT of anything, signed by anybody."""
    signing_input = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
    return f"{signing_input}.{base64url(sign(signing_input.encode()))}"


def present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not ABSENT}


def es256(key: ec.EllipticCurvePrivateKey) -> Signer:
    return lambda signed: ECAlgorithm(ECAlgorithm.SHA256).sign(signed, key)


def eddsa(key: ed25519.Ed25519PrivateKey) -> Signer:
    return lambda signed: OKPAlgorithm().sign(signed, key)


def hs256(secret: bytes) -> Signer:
    return lambda signed: HMACAlgorithm(HMACAlgorithm.SHA256).sign(signed, secret)


def pem(key: Any) -> bytes:
    """A public key in PEM."""
    found: bytes = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return found


def ec_jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    return ECAlgorithm.to_jwk(key.public_key(), as_dict=True)


def inline(jwk: Mapping[str, Any]) -> str:
    """A public key as TOML."""
    return "{ " + ", ".join(f'{name} = "{jwk[name]}"' for name in ("kty", "crv", "x", "y") if name in jwk) + " }"


GOOGLE_KEY = Key("federated-signon.system.gserviceaccount.com")
OTHER_GOOGLE_KEY = Key(SECURETOKEN)
EC_KEY, EC_KEY_OF_USER, EC_KEY_OF_NOBODY = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
ED25519_KEY, ED25519_KEY_OF_NOBODY = (ed25519.Ed25519PrivateKey.generate() for _ in range(2))
EC_JWK = ec_jwk(EC_KEY)
ED25519_JWK = OKPAlgorithm.to_jwk(ED25519_KEY.public_key(), as_dict=True)
POLICY = Policy.parse(
    f"""\
[services.billing]
service_accounts = ["{ACCOUNT}"]
calls = ["product"]
keys = [{{ jwk = {inline(EC_JWK)} }}, {{ jwk = {inline(ED25519_JWK)} }}]

[services.user]
keys = [{{ jwk = {inline(ec_jwk(EC_KEY_OF_USER))} }}]

[services.product]
service_accounts = ["product@demo-shop.iam.gserviceaccount.com"]
""",
    "policy.toml",
)


class FakeSource:
    """Publishes the certificates of `keys`; fails while `fault` is set; `fetches` counts how often it was asked."""

    def __init__(self, *keys: Key) -> None:
        self.keys = list(keys)
        self.fault: Exception | None = None
        self.fetches = 0

    async def fetch(self) -> Fetched:
        self.fetches += 1
        if self.fault:
            raise self.fault
        return Fetched({key.key_id: key.certificate for key in self.keys}, 3_600)


class WatchedStore(MemoryReplayStore):
    """A replay store that knows until when each id is to be kept, and cannot be reached while it is `down`."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self.kept_until: dict[str, float] = {}
        self.down = False

    async def spend(self, one_time_id: str, expires_at: float) -> bool:
        if self.down:
            raise VerifierUnavailable("The store is away.")
        self.kept_until.setdefault(one_time_id, expires_at)
        return await super().spend(one_time_id, expires_at)


class EmptyHanded(CertificateCache):
    """Knows every key until google-auth asks for it, as where the last certificate expires in between."""

    async def ensure_key(self, key_id: str) -> None: ...


class Desk:
    """Where credentials are looked at: a verifier, Google's certificates, a store, and a clock that a test may move."""

    def __init__(self) -> None:
        # Real time at first: google-auth has no other clock, and certificates made now are good.
        self.clock = FakeClock(float(int(time.time())))
        self.source = FakeSource(GOOGLE_KEY)
        self.store = WatchedStore(self.clock)
        self.verifier = self.another_verifier()

    def another_verifier(self, certificates: CertificateCache | None = None) -> CredentialVerifier:
        """A verifier in another process, with the same store."""
        certificates = certificates or CertificateCache(self.source, clock=self.clock)
        return CredentialVerifier(POLICY, URL, certificates, self.store, clock=self.clock)

    async def use(self, *tokens: str) -> Proven:
        """Whose the credential is, once it is spent."""
        return await self.use_line(*(f"Bearer {token}" for token in tokens))

    async def use_line(self, *lines: str) -> Proven:
        proven = await self.verifier.verify(lines)
        await self.verifier.spend(proven)
        return proven

    async def refusal(self, *tokens: str) -> Refusal:
        with pytest.raises(Refusal) as caught:
            await self.use(*tokens)
        assert self.store.kept_until == {} or caught.value.code == "credential_replayed"
        assert not any(part in str(caught.value) for token in tokens for part in token.split(".") if part)
        return caught.value

    async def code(self, *tokens: str) -> str:
        """The code of the refusal, which spent nothing and repeats nothing of the token."""
        refusal = await self.refusal(*tokens)
        assert refusal.status == (503 if isinstance(refusal, VerifierUnavailable) else 401)
        return refusal.code

    def google(self, header: Mapping[str, Any] | None = None, sign: Signer = GOOGLE_KEY.sign, **claims: Any) -> str:
        """An identity token of Billing's account, with these header parameters and claims changed; ABSENT left out."""
        now = int(self.clock())
        told = {
            "iss": GOOGLE,
            "aud": URL,
            "azp": "100000000000000000001",
            "sub": "100000000000000000001",
            "iat": now,
            "exp": now + 3_600,
            "email": ACCOUNT,
            "email_verified": True,
        }
        return jws(present(GOOGLE_KEY.header | dict(header or {})), present(told | claims), sign)

    def assertion(self, header: Mapping[str, Any] | None = None, sign: Signer | None = None, **claims: Any) -> str:
        """An assertion of Billing, signed with its EC key, changed in the same way. It names no key."""
        now = int(self.clock())
        told = {
            "iss": "billing",
            "sub": "billing",
            "aud": URL,
            "jti": "an-id-that-counts-once",
            "iat": now,
            "exp": now + ASSERTION_MAX_AGE_SECONDS,
        }
        headers = {"alg": "ES256", "typ": "JWT"} | dict(header or {})
        return jws(present(headers), present(told | claims), sign or es256(EC_KEY))


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_nothing_at_all(desk: Desk) -> None:
    """Whoever sends no credential learns where to send it, with a challenge that names no error."""
    refusal = await desk.refusal()
    assert refusal.code == "credential_missing"
    assert refusal.challenges("token") == ('Bearer realm="token"',)


@pytest.mark.parametrize(
    "line",
    ["", "Bearer", "Bearer ", "Bearer a.b", "Bearer a.b.c", "Bearer .e30.", "Basic YTpi", "DPoP {}", "{}", "Bearer{}"],
)
async def test_what_is_no_bearer_token(desk: Desk, line: str) -> None:
    """Another scheme, or what is no JWT, is malformed, however good the token is that stands in it."""
    with pytest.raises(Refusal) as caught:
        await desk.use_line(line.format(desk.google()))
    assert caught.value.code == "credential_malformed"


class CredentialContract(ABC):
    """What holds for every kind of credential. A subclass says how one of Billing's is made."""

    algorithm: ClassVar[str]
    public_key: ClassVar[bytes]
    """What everybody knows of the key, and an attacker may take for a secret."""

    @abstractmethod
    def sign(self, signed: bytes) -> bytes:
        """The signature of the key that counts."""

    @abstractmethod
    def sign_as_nobody(self, signed: bytes) -> bytes:
        """The signature of a key of the same kind that is nobody's."""

    @abstractmethod
    def token(
        self, desk: Desk, header: Mapping[str, Any] | None = None, sign: Signer | None = None, **claims: Any
    ) -> str:
        """A good one with these header parameters and claims changed; ABSENT ones left out."""

    async def test_it_proves_its_service(self, desk: Desk) -> None:
        """The scheme may be in any case, with space around it (RFC 9110, sections 5.5 and 11.1)."""
        assert (await desk.use_line(f" bEARER  {self.token(desk)}\t")).service == "billing"

    async def test_verifying_spends_nothing(self, desk: Desk) -> None:
        """A request that is refused for something else can be sent anew with the same credential."""
        line = f"Bearer {self.token(desk)}"
        assert await desk.verifier.verify([line]) == await desk.verifier.verify([line])
        assert desk.store.kept_until == {}

    async def test_one_header_line(self, desk: Desk) -> None:
        """Two good credentials are one too many, on two lines or joined by a comma."""
        token = self.token(desk)
        assert await desk.code(token, token) == "credential_malformed"
        assert await desk.code(f"{token}, Bearer {token}") == "credential_malformed"

    async def test_a_signature_of_another_key(self, desk: Desk) -> None:
        """Whoever signs for somebody else is not trusted."""
        assert await desk.code(self.token(desk, sign=self.sign_as_nobody)) == "credential_untrusted"

    async def test_a_signature_over_something_else(self, desk: Desk) -> None:
        """A signature does not go with another payload, nor with another header."""
        one, other = self.token(desk).split("."), self.token(desk, {"x": 1}, azp="somebody else").split(".")
        assert await desk.code(".".join([one[0], other[1], one[2]])) == "credential_untrusted"
        assert await desk.code(".".join([other[0], one[1], one[2]])) == "credential_untrusted"

    async def test_each_bit_of_the_signature_counts(self, desk: Desk) -> None:
        """With any one flipped it is none."""
        body, _, signature = self.token(desk).rpartition(".")
        good = base64url_decode(signature)
        for bit in range(8 * len(good)):
            flipped = bytearray(good)
            flipped[bit // 8] ^= 1 << bit % 8
            assert await desk.code(f"{body}.{base64url(bytes(flipped))}") == "credential_untrusted"

    @pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", None, ABSENT, 256, ["ES256"]])
    async def test_without_a_signature(self, desk: Desk, algorithm: Any) -> None:
        """A token that says it has none, or with which algorithm nobody knows, is none; signed or not."""
        assert await desk.code(self.token(desk, {"alg": algorithm}, sign=lambda signed: b"")) == "credential_untrusted"
        assert await desk.code(self.token(desk, {"alg": algorithm})) == "credential_untrusted"

    @pytest.mark.parametrize("algorithm", ["HS256", "RS256", "ES256", "EdDSA"])
    async def test_the_public_key_is_no_secret(self, desk: Desk, algorithm: str) -> None:
        """What everybody knows signs nothing (RFC 8725, section 2.1)."""
        token = self.token(desk, {"alg": algorithm}, sign=hs256(self.public_key))
        assert await desk.code(token) == "credential_untrusted"

    async def test_one_algorithm_for_each_key(self, desk: Desk) -> None:
        """A good signature under the name of another algorithm does not count (RFC 8725, section 3.1)."""
        for algorithm in {"HS256", "RS256", "RS512", "PS256", "ES256", "ES384", "ES256K", "EdDSA"} - {self.algorithm}:
            assert await desk.code(self.token(desk, {"alg": algorithm})) == "credential_untrusted"

    @pytest.mark.parametrize("key_id", ["unknown", "", 7, ["unknown"], {}, True, "k" * 5_000])
    async def test_an_unknown_key(self, desk: Desk, key_id: Any) -> None:
        """A credential is of the key that it names, or of none."""
        assert await desk.code(self.token(desk, {"kid": key_id})) == "credential_untrusted"

    @pytest.mark.parametrize(
        "header",
        [
            {"crit": ["exp"], "exp": 1},
            {"crit": []},
            {"typ": "dpop+jwt"},
            {"typ": "at+jwt"},
            {"typ": ["JWT"]},
            {"typ": 1},
        ],
    )
    async def test_a_header_that_asks_for_more(self, desk: Desk, header: dict[str, Any]) -> None:
        """An extension that has to be understood, or another type of token (RFC 7515, 4.1.11; RFC 8725, 3.11)."""
        assert await desk.code(self.token(desk, header)) == "credential_untrusted"

    async def test_a_type_is_not_needed(self, desk: Desk) -> None:
        """A header may leave `typ` out."""
        assert (await desk.use(self.token(desk, {"typ": ABSENT}))).service == "billing"

    @pytest.mark.parametrize(
        "audience",
        [
            ABSENT,
            None,
            "",
            [URL],
            [URL, "https://elsewhere.example"],
            {URL: URL},
            f"{URL}/",
            URL.upper(),
            "token",
            True,
        ],
    )
    async def test_it_is_for_this_token_service_only(self, desk: Desk, audience: Any) -> None:
        """The audience is just this URL; one among several is none, since the others could use the token here."""
        assert await desk.code(self.token(desk, aud=audience)) == "credential_untrusted"

    async def test_a_credential_that_was_stolen_elsewhere(self, desk: Desk) -> None:
        """What Billing sends to another receiver is worth nothing here, and is not even looked up."""
        assert await desk.code(self.token(desk, aud="https://delivery.example.com")) == "credential_untrusted"
        assert desk.source.fetches == 0

    @pytest.mark.parametrize("name", ["iat", "exp"])
    @pytest.mark.parametrize("value", [ABSENT, None, "4000000000", True, 4e9, 1.5, -1, [], {}])
    async def test_times_are_whole_seconds(self, desk: Desk, name: str, value: Any) -> None:
        """A time that is missing, or of another kind, is none; `true` is no 1."""
        assert await desk.code(self.token(desk, **{name: value})) == "credential_untrusted"

    async def test_one_that_has_expired(self, desk: Desk) -> None:
        """Past its `exp`, by more than clocks differ, it does not count."""
        now = int(desk.clock())
        assert await desk.code(self.token(desk, exp=now - CLOCK_SKEW_SECONDS - 1)) == "credential_expired"
        assert await desk.code(self.token(desk, iat=0, exp=0)) == "credential_expired"

    async def test_one_from_the_future(self, desk: Desk) -> None:
        """By more than clocks differ, nobody can have issued it yet."""
        assert await desk.code(self.token(desk, iat=int(desk.clock()) + 3_000)) == "credential_untrusted"

    @pytest.mark.parametrize("issuer", [ABSENT, None, "", 7, [], {}, "stranger", "svc:billing", GOOGLE + "/"])
    async def test_an_issuer_that_is_not_known(self, desk: Desk, issuer: Any) -> None:
        """Neither Google nor a service of the policy vouches for it."""
        assert await desk.code(self.token(desk, iss=issuer, sub=issuer)) == "credential_untrusted"


class TestGoogle(CredentialContract):
    """An identity token, as the metadata server gives it."""

    algorithm = "RS256"
    public_key = pem(x509.load_pem_x509_certificate(GOOGLE_KEY.certificate.encode()).public_key())

    def token(
        self, desk: Desk, header: Mapping[str, Any] | None = None, sign: Signer | None = None, **claims: Any
    ) -> str:
        return desk.google(header, sign or self.sign, **claims)

    def sign(self, signed: bytes) -> bytes:
        return GOOGLE_KEY.sign(signed)

    def sign_as_nobody(self, signed: bytes) -> bytes:
        return OTHER_GOOGLE_KEY.sign(signed)

    async def test_the_account_is_the_proof(self, desk: Desk) -> None:
        """Which service it is says the policy, by the account; no id is spent for it."""
        proven = await desk.use(desk.google())
        assert proven == Proven("billing", account=ACCOUNT)
        assert str(proven) == f"account {ACCOUNT}"

    async def test_it_counts_for_its_hour(self, desk: Desk) -> None:
        """The metadata server gives the same token again and again, so it can be used again and again."""
        token = desk.google()
        for _ in range(3):
            assert (await desk.use(token)).service == "billing"
        assert desk.store.kept_until == {}

    @pytest.mark.parametrize("verified", [ABSENT, None, False, "true", 1, [True]])
    async def test_an_address_that_google_has_not_verified(self, desk: Desk, verified: Any) -> None:
        """Anybody could claim it."""
        assert await desk.code(desk.google(email_verified=verified)) == "credential_untrusted"

    @pytest.mark.parametrize("email", [ABSENT, None, 7, [ACCOUNT], {}])
    async def test_a_token_without_an_address(self, desk: Desk, email: Any) -> None:
        """A token of the format "standard" names nobody whom a policy could know."""
        assert await desk.code(desk.google(email=email)) == "credential_untrusted"

    @pytest.mark.parametrize(
        "email",
        [
            "anna@example.com",
            "stranger@demo-shop.iam.gserviceaccount.com",
            "billing@other-shop.iam.gserviceaccount.com",
            ACCOUNT.upper(),
            f"{ACCOUNT} ",
            "billing",
            "",
        ],
    )
    async def test_an_account_that_policy_does_not_have(self, desk: Desk, email: str) -> None:
        """Google vouches for people, and for other people's services, too."""
        refusal = await desk.refusal(desk.google(email=email))
        assert isinstance(refusal, CredentialUnknown)
        assert (refusal.code, refusal.account) == ("credential_unknown", email)

    async def test_a_token_must_name_its_key(self, desk: Desk) -> None:
        """Without `kid` no key is tried."""
        assert await desk.code(desk.google({"kid": ABSENT})) == "credential_untrusted"

    async def test_a_new_key_of_googles(self, desk: Desk) -> None:
        """A key that is published later is found by the first token that it signed."""
        assert (await desk.use(desk.google())).service == "billing"
        desk.source.keys = [OTHER_GOOGLE_KEY]
        desk.clock.advance(10)
        token = desk.google({"kid": OTHER_GOOGLE_KEY.key_id}, OTHER_GOOGLE_KEY.sign, iat=int(time.time()))
        assert (await desk.use(token)).service == "billing"

    async def test_googles_name_under_a_registered_key(self, desk: Desk) -> None:
        """A service cannot speak for Google, whatever it signs with its own key."""
        for key_id in (ABSENT, thumbprint(EC_JWK), GOOGLE_KEY.key_id):
            token = desk.google({"alg": "ES256", "kid": key_id}, es256(EC_KEY))
            assert await desk.code(token) == "credential_untrusted"

    async def test_an_id_token_of_firebase(self, desk: Desk) -> None:
        """A user of the shop is no service, although Google signs for users with keys of the same kind."""
        token = desk.google(iss="https://securetoken.google.com/demo-shop", aud="demo-shop", sub="anna")
        assert await desk.code(token) == "credential_untrusted"

    async def test_certificates_that_are_out_of_reach(self, desk: Desk) -> None:
        """It is an outage, and no attack; and over when they are there again."""
        desk.source.fault = OSError("no route to Google")
        token = desk.google()
        assert await desk.code(token) == "verifier_unavailable"
        desk.source.fault = None
        desk.clock.advance(1)
        assert (await desk.use(token)).service == "billing"

    async def test_certificates_that_end_at_the_last_moment(self, desk: Desk) -> None:
        """What google-auth cannot fetch is an outage, too."""
        desk.verifier = desk.another_verifier(EmptyHanded(desk.source, clock=desk.clock))
        refusal = await desk.refusal(desk.google())
        assert refusal.code == "verifier_unavailable"
        assert isinstance(refusal.__cause__, exceptions.TransportError)

    async def test_without_the_store(self, desk: Desk) -> None:
        """Nothing is spent for Google's tokens, so they need no store."""
        desk.store.down = True
        assert (await desk.use(desk.google())).service == "billing"


class AssertionContract(CredentialContract):
    """What holds for the assertions of every kind of key. A subclass says how they are signed."""

    private_key: ClassVar[ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey]
    key_id: ClassVar[str]

    def token(
        self, desk: Desk, header: Mapping[str, Any] | None = None, sign: Signer | None = None, **claims: Any
    ) -> str:
        header = {"alg": self.algorithm, "kid": self.key_id} | dict(header or {})
        return desk.assertion(header, sign or self.sign, **claims)

    async def test_the_key_is_the_proof(self, desk: Desk) -> None:
        """An assertion as PyJWT makes it proves a service, by the thumbprint of the key."""
        now = int(desk.clock())
        claims = {"iss": "billing", "sub": "billing", "aud": URL, "jti": "one", "iat": now, "exp": now + 60}
        proven = await desk.use(jwt.encode(claims, self.private_key, self.algorithm))
        assert proven == Proven("billing", key_id=self.key_id, assertion_id="one")
        assert str(proven) == f"key {self.key_id}"

    async def test_a_key_need_not_be_named(self, desk: Desk) -> None:
        """Without `kid` each of the service's keys is tried."""
        assert (await desk.use(self.token(desk, {"kid": ABSENT}))).key_id == self.key_id

    async def test_another_key_is_named(self, desk: Desk) -> None:
        """A key of Google's, of another service, or another one of the same service has not signed it."""
        others = {GOOGLE_KEY.key_id, *(thumbprint(jwk) for jwk in (ec_jwk(EC_KEY_OF_USER), EC_JWK, ED25519_JWK))}
        for key_id in others - {self.key_id}:
            assert await desk.code(self.token(desk, {"kid": key_id})) == "credential_untrusted"

    @pytest.mark.parametrize("service", ["user", "product"])
    async def test_a_service_speaks_for_itself_only(self, desk: Desk, service: str) -> None:
        """Billing's key signs nothing for another service, whether or not that has keys of its own."""
        for key_id in (self.key_id, ABSENT, thumbprint(ec_jwk(EC_KEY_OF_USER))):
            token = self.token(desk, {"kid": key_id}, iss=service, sub=service)
            assert await desk.code(token) == "credential_untrusted"

    @pytest.mark.parametrize("subject", [ABSENT, None, "user", "", "svc:billing", 7, ["billing"]])
    async def test_issuer_and_subject_are_one(self, desk: Desk, subject: Any) -> None:
        """Nobody gets a token in another's name."""
        assert await desk.code(self.token(desk, sub=subject)) == "credential_untrusted"

    @pytest.mark.parametrize("age_seconds", [-CLOCK_SKEW_SECONDS, 0, ASSERTION_MAX_AGE_SECONDS])
    async def test_it_counts_for_a_minute(self, desk: Desk, age_seconds: int) -> None:
        """From when it is made, and a little before, by the clock of the token service."""
        now = int(desk.clock())
        assert (await desk.use(self.token(desk, iat=now - age_seconds, exp=now + 600))).service == "billing"

    async def test_a_stale_one(self, desk: Desk) -> None:
        """After that minute it does not count, whatever its `exp` says."""
        issued_at = int(desk.clock()) - ASSERTION_MAX_AGE_SECONDS - 1
        assert await desk.code(self.token(desk, iat=issued_at, exp=issued_at + 3_600)) == "credential_expired"

    async def test_its_own_end_counts_too(self, desk: Desk) -> None:
        """Five seconds after its `exp` it is over, and not before; clocks differ by no more."""
        now = int(desk.clock())
        token = self.token(desk, iat=now - 10, exp=now - CLOCK_SKEW_SECONDS)
        assert await desk.code(token) == "credential_expired"
        token = self.token(desk, iat=now - 10, exp=now - CLOCK_SKEW_SECONDS + 1)
        assert (await desk.use(token)).service == "billing"

    async def test_clocks_differ_by_five_seconds(self, desk: Desk) -> None:
        """One that is made six seconds from now comes from the future."""
        issued_at = int(desk.clock()) + CLOCK_SKEW_SECONDS + 1
        assert await desk.code(self.token(desk, iat=issued_at, exp=issued_at + 60)) == "credential_untrusted"

    async def test_not_before(self, desk: Desk) -> None:
        """Before its `nbf`, if it has one, an assertion must not be accepted (RFC 7523, section 3, item 5)."""
        assert await desk.code(self.token(desk, nbf=int(desk.clock()) + 30)) == "credential_untrusted"

    @pytest.mark.parametrize("assertion_id", [ABSENT, None, "", 7, ["one"], "x" * 129])
    async def test_it_has_an_id(self, desk: Desk, assertion_id: Any) -> None:
        """1 to 128 characters, since what has none could be used again and again."""
        assert await desk.code(self.token(desk, jti=assertion_id)) == "credential_untrusted"

    @pytest.mark.parametrize("assertion_id", ["\ud800", "one\udfff"])
    async def test_an_id_that_is_no_text(self, desk: Desk, assertion_id: str) -> None:
        """Half of a character, which no store can write down, is refused like any other bad id."""
        assert await desk.code(self.token(desk, jti=assertion_id)) == "credential_untrusted"

    async def test_the_longest_id(self, desk: Desk) -> None:
        """128 characters will do."""
        assert (await desk.use(self.token(desk, jti="x" * 128))).assertion_id == "x" * 128

    async def test_it_counts_once(self, desk: Desk) -> None:
        """Whoever has seen it go by has nothing."""
        token = self.token(desk)
        await desk.use(token)
        assert await desk.code(token) == "credential_replayed"

    async def test_it_counts_once_in_all_processes(self, desk: Desk) -> None:
        """Those that share a store share what is spent."""
        token = self.token(desk)
        await desk.use(token)
        desk.verifier = desk.another_verifier()
        assert await desk.code(token) == "credential_replayed"

    async def test_of_many_at_once_one_wins(self, desk: Desk) -> None:
        """One assertion races with itself."""
        token = self.token(desk)
        outcomes = await asyncio.gather(*(desk.use(token) for _ in range(100)), return_exceptions=True)
        assert sum(isinstance(outcome, Proven) for outcome in outcomes) == 1
        assert sum(isinstance(outcome, CredentialReplayed) for outcome in outcomes) == 99

    async def test_an_id_is_its_services_own(self, desk: Desk) -> None:
        """No service can use up the ids of another, nor use one of its own again under another key."""
        await desk.use(self.token(desk))
        assert (await desk.use(desk.assertion(sign=es256(EC_KEY_OF_USER), iss="user", sub="user"))).service == "user"
        for again in (desk.assertion(), desk.assertion({"alg": "EdDSA"}, eddsa(ED25519_KEY))):
            assert await desk.code(again) == "credential_replayed"

    async def test_a_spent_id_is_kept_for_as_long_as_any_process_accepts_its_assertion(self, desk: Desk) -> None:
        """An assertion is refused as replayed until every process refuses it as expired, however far clocks are apart.

        The clock of the caller is ahead of this process's by the largest difference that is allowed, and the clock of
        another process is behind by as much.
        """
        store, certificates = ForgetfulReplayStore(desk.clock), CertificateCache(desk.source, clock=desk.clock)
        here = CredentialVerifier(POLICY, URL, certificates, store, clock=desk.clock)
        elsewhere = CredentialVerifier(
            POLICY, URL, certificates, store, clock=lambda: desk.clock() - CLOCK_SKEW_SECONDS
        )
        issued_at = int(desk.clock()) + CLOCK_SKEW_SECONDS
        line = f"Bearer {self.token(desk, iat=issued_at, exp=issued_at + 600)}"

        async def code(verifier: CredentialVerifier) -> str:
            try:
                await verifier.spend(await verifier.verify([line]))
            except Refusal as refusal:
                return refusal.code
            return "accepted"

        assert await code(here) == "accepted"
        codes = []
        for _ in range(2 * (ASSERTION_MAX_AGE_SECONDS + 3 * CLOCK_SKEW_SECONDS)):
            codes.append(await code(elsewhere))
            desk.clock.advance(0.5)
        assert [one for one, _ in groupby(codes)] == [
            "credential_untrusted",
            "credential_replayed",
            "credential_expired",
        ]

    async def test_an_outage_of_the_store_lets_nobody_in(self, desk: Desk) -> None:
        """Without a place to write the id down there is no spending; and that is no refusal of the credential."""
        desk.store.down = True
        token = self.token(desk)
        assert await desk.code(token) == "verifier_unavailable"
        desk.store.down = False
        assert (await desk.use(token)).service == "billing"

    async def test_an_outage_of_google_is_none_here(self, desk: Desk) -> None:
        """Registered keys need no certificates."""
        desk.source.fault = OSError("no route to Google")
        assert (await desk.use(self.token(desk))).service == "billing"
        assert desk.source.fetches == 0

    async def test_keys_of_google_sign_no_assertion(self, desk: Desk) -> None:
        """RS256 is nobody's algorithm but Google's, and Google speaks for no service by name."""
        for key_id in (GOOGLE_KEY.key_id, self.key_id, ABSENT):
            token = self.token(desk, {"alg": "RS256", "kid": key_id}, sign=GOOGLE_KEY.sign)
            assert await desk.code(token) == "credential_untrusted"


class TestES256(AssertionContract):
    """An assertion signed with a key of the curve P-256."""

    algorithm = "ES256"
    private_key = EC_KEY
    key_id = thumbprint(EC_JWK)
    public_key = pem(EC_KEY.public_key())

    def sign(self, signed: bytes) -> bytes:
        return es256(EC_KEY)(signed)

    def sign_as_nobody(self, signed: bytes) -> bytes:
        return es256(EC_KEY_OF_NOBODY)(signed)


class TestEd25519(AssertionContract):
    """An assertion signed with a key of the curve Ed25519."""

    algorithm = "EdDSA"
    private_key = ED25519_KEY
    key_id = thumbprint(ED25519_JWK)
    public_key = pem(ED25519_KEY.public_key())

    def sign(self, signed: bytes) -> bytes:
        return eddsa(ED25519_KEY)(signed)

    def sign_as_nobody(self, signed: bytes) -> bytes:
        return eddsa(ED25519_KEY_OF_NOBODY)(signed)


KINDS: list[CredentialContract] = [TestGoogle(), TestES256(), TestEd25519()]
ANY_TEXT = st.text(st.characters(exclude_categories=()))
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner),
    max_leaves=8,
)
NAMES = st.sampled_from(["iss", "sub", "aud", "jti", "iat", "exp", "nbf", "email", "email_verified"])
VALUES = ANY_JSON | st.sampled_from(["billing", "user", URL, GOOGLE, ACCOUNT, 4_000_000_000, int(time.time())])
HEADERS = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "crit", "jwk", "b64"]),
    ANY_JSON | st.sampled_from(["RS256", "ES256", "EdDSA", "none", "JWT", GOOGLE_KEY.key_id, thumbprint(EC_JWK)]),
)
CLAIMS = st.dictionaries(NAMES, VALUES)
LINES = st.one_of(
    ANY_TEXT,
    ANY_TEXT.map("Bearer {}".format),
    st.lists(st.binary().map(base64url), min_size=3, max_size=3).map(lambda parts: "Bearer " + ".".join(parts)),
    st.builds(lambda header, claims, signature: jws(header, claims, lambda _: signature), HEADERS, CLAIMS, st.binary()),
    st.builds(
        lambda header, claims, signature: f"Bearer {jws(header, claims, lambda _: signature)}",
        HEADERS,
        CLAIMS,
        st.binary(),
    ),
)


def outcome(line: str, desk: Desk | None = None) -> Proven | Refusal:
    """What comes of one header line; another exception than a refusal is not caught."""
    try:
        return asyncio.run((desk or Desk()).use_line(line))
    except Refusal as refusal:
        return refusal


@settings(deadline=None)
@given(line=LINES)
def test_any_header_line(line: str) -> None:
    """Whatever somebody without a key writes is refused with 401, or 503 in an outage, and nothing else happens."""
    found = outcome(line)
    assert isinstance(found, Refusal)
    assert found.status in (401, 503)


@settings(deadline=None)
@given(changes=CLAIMS, header=HEADERS)
def test_whatever_the_holder_of_a_key_signs(changes: dict[str, Any], header: dict[str, Any]) -> None:
    """It proves the holder's own service, or is refused with 401, also where it is odd."""
    desk = Desk()
    found = outcome(f"Bearer {desk.assertion(header, **changes)}", desk)
    assert found.service == "billing" if isinstance(found, Proven) else found.status == 401


@settings(deadline=None)
@given(changes=CLAIMS)
def test_whatever_google_signs(changes: dict[str, Any]) -> None:
    """It proves the service of an account that policy has, or is refused with 401, also where it is odd."""
    desk = Desk()
    found = outcome(f"Bearer {desk.google(**changes)}", desk)
    assert found.service == "billing" if isinstance(found, Proven) else found.status == 401


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: type(kind).__name__)
@settings(deadline=None)
@given(data=st.data())
def test_any_bit_of_a_token_counts(kind: CredentialContract, data: st.DataObject) -> None:
    """With one flipped, in header, payload, signature or between them, it is refused."""
    desk = Desk()
    token = bytearray(kind.token(desk).encode())
    bit = data.draw(st.integers(0, 8 * len(token) - 1))
    token[bit // 8] ^= 1 << bit % 8
    found = outcome(f"Bearer {token.decode('latin-1')}", desk)
    assert isinstance(found, Refusal)
    assert found.status == 401
    assert desk.store.kept_until == {}
