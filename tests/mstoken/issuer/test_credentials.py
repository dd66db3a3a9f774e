"""Credentials at the token service: Google identity tokens and assertions, each refusal, and what is spent."""

import asyncio
import datetime
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
from cryptography.hazmat.primitives.asymmetric import ec
from google.auth import exceptions
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, HMACAlgorithm
from typing_extensions import override

from mstoken.callee.certificates import CertificateCache
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.emulator.keys import SECURETOKEN, Key
from mstoken.errors import CredentialReplayed, CredentialUnknown, Refusal, VerifierUnavailable
from mstoken.issuer.credentials import CredentialVerifier, ProvenService
from mstoken.issuer.policy import Policy
from mstoken.jwk import public_jwk, thumbprint
from mstoken.strict_jwt import base64url, base64url_decode
from tests.clock import FakeClock
from tests.mstoken.callee.replay.fakes import ForgetfulReplayStore
from tests.mstoken.issuer.fakes import FakeSource

URL = "https://us-central1-demo-shop.cloudfunctions.net/token"
GOOGLE = "https://accounts.google.com"
ACCOUNT = "billing@demo-shop.iam.gserviceaccount.com"
ASSERTION_MAX_AGE_SECONDS = 60
CLOCK_SKEW_SECONDS = 5
ABSENT: Any = object()
"""In place of a value: the parameter or the claim is left out."""

Signer: TypeAlias = Callable[[bytes], bytes]
"""Returns the signature over a signing input."""


def jws(header: Mapping[str, Any], claims: Mapping[str, Any], sign: Signer) -> str:
    """Return a JWT with any content, signed with any key."""
    signing_input = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
    return f"{signing_input}.{base64url(sign(signing_input.encode()))}"


def present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not ABSENT}


def es256(key: ec.EllipticCurvePrivateKey) -> Signer:
    return lambda signed: ECAlgorithm(ECAlgorithm.SHA256).sign(signed, key)


def hs256(secret: bytes) -> Signer:
    return lambda signed: HMACAlgorithm(HMACAlgorithm.SHA256).sign(signed, secret)


def pem(key: Any) -> bytes:
    """Return a public key in PEM."""
    found: bytes = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return found


def inline(jwk: Mapping[str, Any]) -> str:
    """Return a public key as TOML."""
    return "{ " + ", ".join(f'{name} = "{value}"' for name, value in jwk.items()) + " }"


GOOGLE_KEY = Key("federated-signon.system.gserviceaccount.com")
OTHER_GOOGLE_KEY = Key(SECURETOKEN)
EC_KEY, SECOND_KEY, EC_KEY_OF_USER, UNREGISTERED_KEY = (ec.generate_private_key(ec.SECP256R1()) for _ in range(4))
EC_JWK = public_jwk(EC_KEY.public_key())
SECOND_JWK = public_jwk(SECOND_KEY.public_key())
POLICY = Policy.parse(
    f"""\
[services.billing]
service_accounts = ["{ACCOUNT}"]
calls = ["product"]
keys = [{{ jwk = {inline(EC_JWK)} }}, {{ jwk = {inline(SECOND_JWK)} }}]

[services.user]
keys = [{{ jwk = {inline(public_jwk(EC_KEY_OF_USER.public_key()))} }}]

[services.product]
service_accounts = ["product@demo-shop.iam.gserviceaccount.com"]
""",
    "policy.toml",
)


class WatchedStore(MemoryReplayStore):
    """A replay store that records until when each id must be kept, and does not answer while it is `down`."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self.kept_until: dict[str, float] = {}
        self.down = False

    async def spend(self, one_time_id: str, *, issued_at: float, expires_at: float) -> bool:
        if self.down:
            raise VerifierUnavailable("The store does not answer.")
        self.kept_until.setdefault(one_time_id, expires_at)
        return await super().spend(one_time_id, issued_at=issued_at, expires_at=expires_at)


class ExpiringCache(CertificateCache):
    """Claims to have every key, but has none when google-auth needs it: as if the last certificate had just expired."""

    async def ensure_key(self, key_id: str) -> None: ...


class Harness:
    """A credential verifier with Google's certificates, a replay store, and a clock that a test can move."""

    def __init__(self) -> None:
        # It starts at the real time: google-auth has no other clock, and certificates made now are valid.
        self.clock = FakeClock(float(int(time.time())))
        self.source = FakeSource(GOOGLE_KEY)
        self.store = WatchedStore(self.clock)
        self.verifier = self.another_verifier()

    def another_verifier(
        self, certificates: CertificateCache | None = None, policy: Policy = POLICY
    ) -> CredentialVerifier:
        """Return a verifier as in another process, with the same store."""
        certificates = certificates or CertificateCache(self.source, clock=self.clock)
        return CredentialVerifier(policy, URL, certificates, self.store, clock=self.clock)

    async def use(self, *tokens: str) -> ProvenService:
        """Verify and spend one credential for each token, and return the service that they prove."""
        return await self.use_line(*(f"Bearer {token}" for token in tokens))

    async def use_line(self, *lines: str) -> ProvenService:
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
        """Return the code of the refusal. Check that it spent nothing and repeats nothing of the token."""
        refusal = await self.refusal(*tokens)
        assert refusal.status == (503 if isinstance(refusal, VerifierUnavailable) else 401)
        return refusal.code

    def google(self, header: Mapping[str, Any] | None = None, sign: Signer = GOOGLE_KEY.sign, **claims: Any) -> str:
        """Return an identity token of Billing's account, with changed header parameters and claims."""
        now = int(self.clock())
        usual = {
            "iss": GOOGLE,
            "aud": URL,
            "azp": "100000000000000000001",
            "sub": "100000000000000000001",
            "iat": now,
            "exp": now + 3_600,
            "email": ACCOUNT,
            "email_verified": True,
        }
        return jws(present(GOOGLE_KEY.header | dict(header or {})), present(usual | claims), sign)

    def assertion(self, header: Mapping[str, Any] | None = None, sign: Signer | None = None, **claims: Any) -> str:
        """Return an assertion of Billing, signed with its first key and changed in the same way. It has no `kid`."""
        now = int(self.clock())
        usual = {
            "iss": "billing",
            "sub": "billing",
            "aud": URL,
            "jti": "an-id-that-counts-once",
            "iat": now,
            "exp": now + ASSERTION_MAX_AGE_SECONDS,
        }
        headers = {"alg": "ES256", "typ": "JWT"} | dict(header or {})
        return jws(present(headers), present(usual | claims), sign or es256(EC_KEY))


@pytest.fixture
def harness() -> Harness:
    return Harness()


async def test_a_missing_credential(harness: Harness) -> None:
    """The refusal says what to send, and its challenge has no error (RFC 6750, section 3.1)."""
    refusal = await harness.refusal()
    assert refusal.code == "credential_missing"
    assert refusal.challenges("token") == ('Bearer realm="token"',)


@pytest.mark.parametrize(
    "line",
    ["", "Bearer", "Bearer ", "Bearer a.b", "Bearer a.b.c", "Bearer .e30.", "Basic YTpi", "DPoP {}", "{}", "Bearer{}"],
)
async def test_a_value_that_is_not_a_bearer_token(harness: Harness, line: str) -> None:
    """Another scheme, or a value that is not a JWT, is malformed, even if it contains a valid token."""
    with pytest.raises(Refusal) as caught:
        await harness.use_line(line.format(harness.google()))
    assert caught.value.code == "credential_malformed"


class CredentialContract(ABC):
    """What holds for every kind of credential. A subclass says how to make one of Billing's."""

    algorithm: ClassVar[str]
    public_key: ClassVar[bytes]
    """The public key, which an attacker could try as a secret."""

    @abstractmethod
    def sign(self, signed: bytes) -> bytes:
        """Return a valid signature."""

    @abstractmethod
    def sign_with_unknown_key(self, signed: bytes) -> bytes:
        """Return a signature with another key of the same kind."""

    @abstractmethod
    def token(
        self, harness: Harness, header: Mapping[str, Any] | None = None, sign: Signer | None = None, **claims: Any
    ) -> str:
        """Return a valid credential, with these header parameters and claims changed. ABSENT ones are left out."""

    async def test_it_proves_its_service(self, harness: Harness) -> None:
        """The scheme may be in any case, with space around it (RFC 9110, sections 5.5 and 11.1)."""
        assert (await harness.use_line(f" bEARER  {self.token(harness)}\t")).service == "billing"

    async def test_verifying_spends_nothing(self, harness: Harness) -> None:
        """A request that is refused for another reason can be sent again with the same credential."""
        line = f"Bearer {self.token(harness)}"
        assert await harness.verifier.verify([line]) == await harness.verifier.verify([line])
        assert harness.store.kept_until == {}

    async def test_two_credentials_are_malformed(self, harness: Harness) -> None:
        """Two valid credentials are refused, on two lines or joined by a comma."""
        token = self.token(harness)
        assert await harness.code(token, token) == "credential_malformed"
        assert await harness.code(f"{token}, Bearer {token}") == "credential_malformed"

    async def test_a_signature_with_another_key_is_refused(self, harness: Harness) -> None:
        """A key that is not registered, or not published by Google, proves nothing."""
        assert await harness.code(self.token(harness, sign=self.sign_with_unknown_key)) == "credential_untrusted"

    async def test_a_signature_of_another_token_is_refused(self, harness: Harness) -> None:
        """A signature is valid for its own header and payload only."""
        one, other = self.token(harness).split("."), self.token(harness, {"x": 1}, azp="somebody else").split(".")
        assert await harness.code(".".join([one[0], other[1], one[2]])) == "credential_untrusted"
        assert await harness.code(".".join([other[0], one[1], one[2]])) == "credential_untrusted"

    async def test_a_signature_with_one_bit_changed_is_refused(self, harness: Harness) -> None:
        """This holds for every bit."""
        body, _, signature = self.token(harness).rpartition(".")
        good = base64url_decode(signature)
        for bit in range(8 * len(good)):
            flipped = bytearray(good)
            flipped[bit // 8] ^= 1 << bit % 8
            assert await harness.code(f"{body}.{base64url(bytes(flipped))}") == "credential_untrusted"

    @pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", None, ABSENT, 256, ["ES256"]])
    async def test_an_unsigned_token_is_refused(self, harness: Harness, algorithm: Any) -> None:
        """A token without an algorithm, or with "none" or an unknown one, is refused, signed or not."""
        assert (
            await harness.code(self.token(harness, {"alg": algorithm}, sign=lambda signed: b""))
            == "credential_untrusted"
        )
        assert await harness.code(self.token(harness, {"alg": algorithm})) == "credential_untrusted"

    @pytest.mark.parametrize("algorithm", ["HS256", "RS256", "ES256", "EdDSA"])
    async def test_the_public_key_is_not_accepted_as_a_secret(self, harness: Harness, algorithm: str) -> None:
        """Everyone knows the public key, so it must not be usable as a key for HMAC (RFC 8725, section 2.1)."""
        token = self.token(harness, {"alg": algorithm}, sign=hs256(self.public_key))
        assert await harness.code(token) == "credential_untrusted"

    async def test_each_key_has_one_algorithm(self, harness: Harness) -> None:
        """A valid signature is refused if the header names another algorithm (RFC 8725, section 3.1)."""
        for algorithm in {"HS256", "RS256", "RS512", "PS256", "ES256", "ES384", "ES256K", "EdDSA"} - {self.algorithm}:
            assert await harness.code(self.token(harness, {"alg": algorithm})) == "credential_untrusted"

    @pytest.mark.parametrize("key_id", ["unknown", "", 7, ["unknown"], {}, True, "k" * 5_000])
    async def test_an_unknown_key_id_is_refused(self, harness: Harness, key_id: Any) -> None:
        """If the header names a key, no other key is tried."""
        assert await harness.code(self.token(harness, {"kid": key_id})) == "credential_untrusted"

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
    async def test_an_unexpected_header_is_refused(self, harness: Harness, header: dict[str, Any]) -> None:
        """A critical extension, or another type of token (RFC 7515, section 4.1.11; RFC 8725, section 3.11)."""
        assert await harness.code(self.token(harness, header)) == "credential_untrusted"

    async def test_the_type_is_optional(self, harness: Harness) -> None:
        """A header may leave out `typ`."""
        assert (await harness.use(self.token(harness, {"typ": ABSENT}))).service == "billing"

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
    async def test_the_audience_must_be_this_token_service(self, harness: Harness, audience: Any) -> None:
        """The audience is exactly this URL. A list is refused: other recipients could use the token here."""
        assert await harness.code(self.token(harness, aud=audience)) == "credential_untrusted"

    async def test_a_credential_for_another_recipient_is_refused(self, harness: Harness) -> None:
        """What Billing sends to another recipient is refused here, before Google's certificates are fetched."""
        assert await harness.code(self.token(harness, aud="https://delivery.example.com")) == "credential_untrusted"
        assert harness.source.fetches == 0

    @pytest.mark.parametrize("name", ["iat", "exp"])
    @pytest.mark.parametrize("value", [ABSENT, None, "4000000000", True, 4e9, 1.5, -1, [], {}])
    async def test_times_are_whole_seconds(self, harness: Harness, name: str, value: Any) -> None:
        """A time that is missing or of another type is refused. `true` is not 1."""
        assert await harness.code(self.token(harness, **{name: value})) == "credential_untrusted"

    async def test_an_expired_credential_is_refused(self, harness: Harness) -> None:
        """The `exp` has passed by more than the clock skew."""
        now = int(harness.clock())
        assert await harness.code(self.token(harness, exp=now - CLOCK_SKEW_SECONDS - 1)) == "credential_expired"
        assert await harness.code(self.token(harness, iat=0, exp=0)) == "credential_expired"

    async def test_a_credential_from_the_future_is_refused(self, harness: Harness) -> None:
        """The `iat` is ahead by more than the clock skew."""
        assert await harness.code(self.token(harness, iat=int(harness.clock()) + 3_000)) == "credential_untrusted"

    @pytest.mark.parametrize("issuer", [ABSENT, None, "", 7, [], {}, "stranger", "svc:billing", GOOGLE + "/"])
    async def test_an_unknown_issuer_is_refused(self, harness: Harness, issuer: Any) -> None:
        """The issuer must be Google or a service of the policy."""
        assert await harness.code(self.token(harness, iss=issuer, sub=issuer)) == "credential_untrusted"


class TestGoogle(CredentialContract):
    """An identity token, as the metadata server returns it."""

    algorithm = "RS256"
    public_key = pem(x509.load_pem_x509_certificate(GOOGLE_KEY.certificate.encode()).public_key())

    @override
    def token(
        self, harness: Harness, header: Mapping[str, Any] | None = None, sign: Signer | None = None, **claims: Any
    ) -> str:
        return harness.google(header, sign or self.sign, **claims)

    @override
    def sign(self, signed: bytes) -> bytes:
        return GOOGLE_KEY.sign(signed)

    @override
    def sign_with_unknown_key(self, signed: bytes) -> bytes:
        return OTHER_GOOGLE_KEY.sign(signed)

    async def test_the_policy_maps_the_account_to_a_service(self, harness: Harness) -> None:
        """The service is the one that has the account in the policy. No id is spent."""
        proven = await harness.use(harness.google())
        assert proven == ProvenService("billing", account=ACCOUNT)
        assert str(proven) == f"account {ACCOUNT}"

    async def test_an_identity_token_can_be_used_again(self, harness: Harness) -> None:
        """The metadata server returns the same token for an hour, so it is not spent."""
        token = harness.google()
        for _ in range(3):
            assert (await harness.use(token)).service == "billing"
        assert harness.store.kept_until == {}

    @pytest.mark.parametrize("verified", [ABSENT, None, False, "true", 1, [True]])
    async def test_an_unverified_email_address_is_refused(self, harness: Harness, verified: Any) -> None:
        """Anyone could claim it."""
        assert await harness.code(harness.google(email_verified=verified)) == "credential_untrusted"

    @pytest.mark.parametrize("email", [ABSENT, None, 7, [ACCOUNT], {}])
    async def test_a_token_without_an_email_address_is_refused(self, harness: Harness, email: Any) -> None:
        """A token in the format "standard" names no account that a policy could have."""
        assert await harness.code(harness.google(email=email)) == "credential_untrusted"

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
    async def test_an_account_that_the_policy_does_not_have_is_refused(self, harness: Harness, email: str) -> None:
        """Google also signs tokens for people, and for the services of other projects."""
        refusal = await harness.refusal(harness.google(email=email))
        assert isinstance(refusal, CredentialUnknown)
        assert (refusal.code, refusal.account) == ("credential_unknown", email)

    async def test_a_token_must_name_its_key(self, harness: Harness) -> None:
        """Without `kid` no key is tried."""
        assert await harness.code(harness.google({"kid": ABSENT})) == "credential_untrusted"

    async def test_a_new_key_of_google_is_fetched(self, harness: Harness) -> None:
        """The first token that is signed with a newly published key is accepted."""
        assert (await harness.use(harness.google())).service == "billing"
        harness.source.keys = [OTHER_GOOGLE_KEY]
        harness.clock.advance(10)
        token = harness.google({"kid": OTHER_GOOGLE_KEY.key_id}, OTHER_GOOGLE_KEY.sign, iat=int(time.time()))
        assert (await harness.use(token)).service == "billing"

    async def test_a_registered_key_cannot_sign_for_google(self, harness: Harness) -> None:
        """A service cannot make an identity token with its own key."""
        for key_id in (ABSENT, thumbprint(EC_JWK), GOOGLE_KEY.key_id):
            token = harness.google({"alg": "ES256", "kid": key_id}, es256(EC_KEY))
            assert await harness.code(token) == "credential_untrusted"

    async def test_a_firebase_id_token_is_refused(self, harness: Harness) -> None:
        """A user of the shop is not a service, although Google signs the tokens of users with keys of the same kind."""
        token = harness.google(iss="https://securetoken.google.com/demo-shop", aud="demo-shop", sub="anna")
        assert await harness.code(token) == "credential_untrusted"

    async def test_an_outage_of_the_certificates_is_a_503(self, harness: Harness) -> None:
        """The refusal says that nothing can be verified now. It ends when the certificates can be fetched again."""
        harness.source.error = OSError("no route to Google")
        token = harness.google()
        assert await harness.code(token) == "verifier_unavailable"
        harness.source.error = None
        harness.clock.advance(1)
        assert (await harness.use(token)).service == "billing"

    async def test_certificates_that_expire_during_the_verification_are_an_outage(self, harness: Harness) -> None:
        """What google-auth cannot fetch is an outage too."""
        harness.verifier = harness.another_verifier(ExpiringCache(harness.source, clock=harness.clock))
        refusal = await harness.refusal(harness.google())
        assert refusal.code == "verifier_unavailable"
        assert isinstance(refusal.__cause__, exceptions.TransportError)

    async def test_an_identity_token_needs_no_replay_store(self, harness: Harness) -> None:
        """Nothing is spent for it, so an outage of the store does not matter."""
        harness.store.down = True
        assert (await harness.use(harness.google())).service == "billing"


class TestAssertion(CredentialContract):
    """An assertion that is signed with a registered key."""

    algorithm = "ES256"
    key_id = thumbprint(EC_JWK)
    public_key = pem(EC_KEY.public_key())

    @override
    def sign(self, signed: bytes) -> bytes:
        return es256(EC_KEY)(signed)

    @override
    def sign_with_unknown_key(self, signed: bytes) -> bytes:
        return es256(UNREGISTERED_KEY)(signed)

    @override
    def token(
        self, harness: Harness, header: Mapping[str, Any] | None = None, sign: Signer | None = None, **claims: Any
    ) -> str:
        header = {"kid": self.key_id} | dict(header or {})
        return harness.assertion(header, sign or self.sign, **claims)

    async def test_a_registered_key_proves_the_service(self, harness: Harness) -> None:
        """An assertion made with PyJWT is accepted. The key is identified by its thumbprint."""
        now = int(harness.clock())
        claims = {"iss": "billing", "sub": "billing", "aud": URL, "jti": "one", "iat": now, "exp": now + 60}
        proven = await harness.use(jwt.encode(claims, EC_KEY, self.algorithm))
        assert proven == ProvenService("billing", key_id=self.key_id, assertion_id="one", issued_at=now)
        assert str(proven) == f"key {self.key_id}"

    async def test_the_key_id_is_optional(self, harness: Harness) -> None:
        """Without `kid` each registered key of the service is tried."""
        assert (await harness.use(self.token(harness, {"kid": ABSENT}))).key_id == self.key_id

    async def test_the_key_id_of_another_key_is_refused(self, harness: Harness) -> None:
        """A key of Google, of another service, or another one of the same service did not sign it."""
        others = {
            GOOGLE_KEY.key_id,
            *(thumbprint(jwk) for jwk in (public_jwk(EC_KEY_OF_USER.public_key()), EC_JWK, SECOND_JWK)),
        }
        for key_id in others - {self.key_id}:
            assert await harness.code(self.token(harness, {"kid": key_id})) == "credential_untrusted"

    async def test_a_key_that_has_expired_is_refused(self, harness: Harness) -> None:
        """It is refused from the first second of its day on, by a process that has loaded the policy before."""
        tomorrow = datetime.datetime.fromtimestamp(harness.clock(), datetime.UTC).date() + datetime.timedelta(1)
        keys = f"{{ expires = {tomorrow}, jwk = {inline(EC_JWK)} }}, {{ jwk = {inline(SECOND_JWK)} }}"
        policy = Policy.parse(f"[services.billing]\nkeys = [{keys}]\n", "policy.toml")
        harness.verifier = harness.another_verifier(policy=policy)
        harness.clock.now = datetime.datetime.combine(tomorrow, datetime.time(), datetime.UTC).timestamp() - 1
        assert (await harness.verifier.verify([f"Bearer {self.token(harness)}"])).key_id == self.key_id
        harness.clock.advance(1)
        refusal = await harness.refusal(self.token(harness))
        assert refusal.code == "credential_untrusted"
        assert f"expired, on {tomorrow}" in str(refusal)
        other = harness.assertion({"kid": thumbprint(SECOND_JWK)}, es256(SECOND_KEY))
        assert (await harness.use(other)).key_id == thumbprint(SECOND_JWK)

    @pytest.mark.parametrize("service", ["user", "product"])
    async def test_a_service_cannot_sign_for_another_one(self, harness: Harness, service: str) -> None:
        """Billing's key signs nothing for another service, whether that service has keys or not."""
        for key_id in (self.key_id, ABSENT, thumbprint(public_jwk(EC_KEY_OF_USER.public_key()))):
            token = self.token(harness, {"kid": key_id}, iss=service, sub=service)
            assert await harness.code(token) == "credential_untrusted"

    @pytest.mark.parametrize("subject", [ABSENT, None, "user", "", "svc:billing", 7, ["billing"]])
    async def test_issuer_and_subject_must_be_equal(self, harness: Harness, subject: Any) -> None:
        """No service gets a token in the name of another one."""
        assert await harness.code(self.token(harness, sub=subject)) == "credential_untrusted"

    @pytest.mark.parametrize("age_seconds", [-CLOCK_SKEW_SECONDS, 0, ASSERTION_MAX_AGE_SECONDS])
    async def test_an_assertion_is_valid_for_a_minute(self, harness: Harness, age_seconds: int) -> None:
        """It may be up to a minute old, or from the future by the clock skew, by the clock of the token service."""
        now = int(harness.clock())
        assert (await harness.use(self.token(harness, iat=now - age_seconds, exp=now + 600))).service == "billing"

    async def test_an_assertion_older_than_a_minute_is_refused(self, harness: Harness) -> None:
        """This does not depend on its `exp`."""
        issued_at = int(harness.clock()) - ASSERTION_MAX_AGE_SECONDS - 1
        assert await harness.code(self.token(harness, iat=issued_at, exp=issued_at + 3_600)) == "credential_expired"

    async def test_an_assertion_may_expire_earlier(self, harness: Harness) -> None:
        """It is refused from 5 seconds after its `exp`, the clock skew, and accepted until then."""
        now = int(harness.clock())
        token = self.token(harness, iat=now - 10, exp=now - CLOCK_SKEW_SECONDS)
        assert await harness.code(token) == "credential_expired"
        token = self.token(harness, iat=now - 10, exp=now - CLOCK_SKEW_SECONDS + 1)
        assert (await harness.use(token)).service == "billing"

    async def test_an_assertion_from_the_future_is_refused(self, harness: Harness) -> None:
        """The `iat` may be ahead by 5 seconds, but not by 6."""
        issued_at = int(harness.clock()) + CLOCK_SKEW_SECONDS + 1
        assert await harness.code(self.token(harness, iat=issued_at, exp=issued_at + 60)) == "credential_untrusted"

    async def test_not_before(self, harness: Harness) -> None:
        """Before its `nbf`, if it has one, an assertion is refused (RFC 7523, section 3, item 5)."""
        assert await harness.code(self.token(harness, nbf=int(harness.clock()) + 30)) == "credential_untrusted"

    @pytest.mark.parametrize("assertion_id", [ABSENT, None, "", 7, ["one"], "x" * 129])
    async def test_an_assertion_must_have_an_id(self, harness: Harness, assertion_id: Any) -> None:
        """The `jti` has 1 to 128 characters. Without one, the assertion could be used again."""
        assert await harness.code(self.token(harness, jti=assertion_id)) == "credential_untrusted"

    @pytest.mark.parametrize("assertion_id", ["\ud800", "one\udfff"])
    async def test_an_id_with_half_a_character_is_refused(self, harness: Harness, assertion_id: str) -> None:
        """No store can write a lone surrogate, so it is refused like any other invalid id."""
        assert await harness.code(self.token(harness, jti=assertion_id)) == "credential_untrusted"

    async def test_an_id_of_128_characters_is_accepted(self, harness: Harness) -> None:
        """This is the longest one."""
        assert (await harness.use(self.token(harness, jti="x" * 128))).assertion_id == "x" * 128

    async def test_an_assertion_can_be_used_once(self, harness: Harness) -> None:
        """An attacker who has seen it cannot use it."""
        token = self.token(harness)
        await harness.use(token)
        assert await harness.code(token) == "credential_replayed"

    async def test_an_assertion_can_be_used_once_in_all_processes(self, harness: Harness) -> None:
        """Processes that share a store share what is spent."""
        token = self.token(harness)
        await harness.use(token)
        harness.verifier = harness.another_verifier()
        assert await harness.code(token) == "credential_replayed"

    async def test_of_many_simultaneous_uses_one_succeeds(self, harness: Harness) -> None:
        """The same assertion is used 100 times at once."""
        token = self.token(harness)
        outcomes = await asyncio.gather(*(harness.use(token) for _ in range(100)), return_exceptions=True)
        assert sum(isinstance(outcome, ProvenService) for outcome in outcomes) == 1
        assert sum(isinstance(outcome, CredentialReplayed) for outcome in outcomes) == 99

    async def test_ids_are_separate_for_each_service(self, harness: Harness) -> None:
        """A service cannot spend the ids of another one, and cannot use its own id again with another key."""
        await harness.use(self.token(harness))
        assert (
            await harness.use(harness.assertion(sign=es256(EC_KEY_OF_USER), iss="user", sub="user"))
        ).service == "user"
        for again in (harness.assertion(), harness.assertion(sign=es256(SECOND_KEY))):
            assert await harness.code(again) == "credential_replayed"

    async def test_a_spent_id_is_kept_for_as_long_as_any_process_accepts_its_assertion(self, harness: Harness) -> None:
        """An assertion is refused as replayed until every process refuses it as expired, however far clocks are apart.

        The clock of the caller is ahead of this process's by the largest difference that is allowed, and the clock of
        another process is behind by as much.
        """
        store, certificates = ForgetfulReplayStore(harness.clock), CertificateCache(harness.source, clock=harness.clock)
        here = CredentialVerifier(POLICY, URL, certificates, store, clock=harness.clock)
        elsewhere = CredentialVerifier(
            POLICY, URL, certificates, store, clock=lambda: harness.clock() - CLOCK_SKEW_SECONDS
        )
        issued_at = int(harness.clock()) + CLOCK_SKEW_SECONDS
        line = f"Bearer {self.token(harness, iat=issued_at, exp=issued_at + 600)}"

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
            harness.clock.advance(0.5)
        assert [one for one, _ in groupby(codes)] == [
            "credential_untrusted",
            "credential_replayed",
            "credential_expired",
        ]

    async def test_an_assertion_that_is_older_than_a_new_store_is_a_503(self, harness: Harness) -> None:
        """It may have been used before. A new assertion is accepted as soon as the store can tell."""
        store, certificates = (
            MemoryReplayStore(complete_since=harness.clock(), clock=harness.clock),
            CertificateCache(harness.source, clock=harness.clock),
        )
        harness.verifier = CredentialVerifier(POLICY, URL, certificates, store, clock=harness.clock)
        early = self.token(harness)
        assert await harness.code(early) == "verifier_unavailable"
        harness.clock.advance(CLOCK_SKEW_SECONDS + 1)
        assert await harness.code(early) == "verifier_unavailable"
        assert (await harness.use(self.token(harness))).service == "billing"

    async def test_an_outage_of_the_store_is_a_503(self, harness: Harness) -> None:
        """An assertion that cannot be spent is not accepted. It is not refused as invalid either."""
        harness.store.down = True
        token = self.token(harness)
        assert await harness.code(token) == "verifier_unavailable"
        harness.store.down = False
        assert (await harness.use(token)).service == "billing"

    async def test_an_assertion_needs_no_certificates(self, harness: Harness) -> None:
        """An outage of Google does not matter for registered keys."""
        harness.source.error = OSError("no route to Google")
        assert (await harness.use(self.token(harness))).service == "billing"
        assert harness.source.fetches == 0

    async def test_a_key_of_google_cannot_sign_an_assertion(self, harness: Harness) -> None:
        """Only Google uses RS256, and Google does not sign in the name of a service."""
        for key_id in (GOOGLE_KEY.key_id, self.key_id, ABSENT):
            token = self.token(harness, {"alg": "RS256", "kid": key_id}, sign=GOOGLE_KEY.sign)
            assert await harness.code(token) == "credential_untrusted"


KINDS: list[CredentialContract] = [TestGoogle(), TestAssertion()]
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


def outcome(line: str, harness: Harness | None = None) -> ProvenService | Refusal:
    """Return the service that a header line proves, or the refusal. Other exceptions are not caught."""
    try:
        return asyncio.run((harness or Harness()).use_line(line))
    except Refusal as refusal:
        return refusal


@settings(deadline=None)
@given(line=LINES)
def test_any_header_line(line: str) -> None:
    """Without a key, every value is refused with 401, or with 503 in an outage. No other exception is raised."""
    found = outcome(line)
    assert isinstance(found, Refusal)
    assert found.status in (401, 503)


@settings(deadline=None)
@given(changes=CLAIMS, header=HEADERS)
def test_any_assertion_with_a_valid_signature(changes: dict[str, Any], header: dict[str, Any]) -> None:
    """It proves the service of the key, or is refused with 401."""
    harness = Harness()
    found = outcome(f"Bearer {harness.assertion(header, **changes)}", harness)
    assert found.service == "billing" if isinstance(found, ProvenService) else found.status == 401


@settings(deadline=None)
@given(changes=CLAIMS)
def test_any_identity_token_with_a_valid_signature(changes: dict[str, Any]) -> None:
    """It proves the service that has the account in the policy, or is refused with 401."""
    harness = Harness()
    found = outcome(f"Bearer {harness.google(**changes)}", harness)
    assert found.service == "billing" if isinstance(found, ProvenService) else found.status == 401


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: type(kind).__name__)
@settings(deadline=None)
@given(data=st.data())
def test_a_token_with_any_bit_changed_is_refused(kind: CredentialContract, data: st.DataObject) -> None:
    """This holds for header, payload, signature and the dots between them."""
    harness = Harness()
    token = bytearray(kind.token(harness).encode())
    bit = data.draw(st.integers(0, 8 * len(token) - 1))
    token[bit // 8] ^= 1 << bit % 8
    found = outcome(f"Bearer {token.decode('latin-1')}", harness)
    assert isinstance(found, Refusal)
    assert found.status == 401
    assert harness.store.kept_until == {}
