"""Proofs across implementations: other libraries verify our proofs, and we verify theirs.

auth0-api-python verifies proofs. joserfc and Authlib sign JWTs; the tests make proofs with them.
"""

import hashlib
import json
import secrets
import time
import warnings
from collections.abc import AsyncIterator, Generator
from typing import Annotated, Any, NoReturn, Protocol

import httpx
import pytest
from fastapi import Depends, FastAPI
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from mstoken import Caller
from mstoken.claims import ServiceClaims, token_sha256
from mstoken.errors import ProofInvalid
from mstoken.fastapi import allow, protect
from mstoken.jwk import thumbprint
from mstoken.proof import Proof, ProofKey, ProofVerifier
from mstoken.strict_jwt import base64url, base64url_decode
from mstoken.testing import FakeFirebase
from mstoken.uri import normalized

with warnings.catch_warnings(record=True):  # auth0 imports a deprecated module of Authlib
    from auth0_api_python import ApiClient, ApiClientOptions
    from auth0_api_python.errors import BaseAuthError
    from auth0_api_python.utils import (
        calculate_jwk_thumbprint,
        normalize_url_for_htu,
        sha256_base64url,
    )
    from authlib.jose import JsonWebKey, JsonWebToken  # type: ignore[import-untyped]

BASE_URL = "http://product"
URL = f"{BASE_URL}/products"
TOKEN = "its-header.its-payload.its-signature"


class Signer(Protocol):
    """A key that another library signs with."""

    jwk: dict[str, Any]
    """The public key."""
    thumbprint: str

    def sign(self, header: dict[str, Any], claims: dict[str, Any]) -> str:
        """Return a JWT with this header and these claims."""


class Joserfc:
    """A key that joserfc signs with."""

    def __init__(self, key: ECKey | RSAKey | None = None) -> None:
        self.key = key or ECKey.generate_key("P-256")
        self.jwk: dict[str, Any] = dict(self.key.as_dict(private=False))
        self.thumbprint = self.key.thumbprint()

    def sign(self, header: dict[str, Any], claims: dict[str, Any]) -> str:
        registry = jws.JWSRegistry(algorithms=["ES256", "ES384", "RS256"], strict_check_header=False)
        return jws.serialize_compact(header, json.dumps(claims), self.key, registry=registry)


class Authlib:
    """A key that Authlib signs with."""

    def __init__(self) -> None:
        self.jwk: dict[str, Any] = {"x": "", "y": ""}
        # One key in 128 has a coordinate that begins with a zero byte. Authlib omits that byte, which RFC 7518, section
        # 6.2.1.2, forbids, so we would refuse the key (test_proof.py, check 7).
        while {len(self.jwk["x"]), len(self.jwk["y"])} != {43}:
            self._key = JsonWebKey.generate_key("EC", "P-256", is_private=True)
            self.jwk = self._key.as_dict()
        self.thumbprint: str = self._key.thumbprint()

    def sign(self, header: dict[str, Any], claims: dict[str, Any]) -> str:
        signed: bytes = JsonWebToken(["ES256"]).encode(header, claims, self._key)
        return signed.decode()


class IndependentClient(httpx.Auth):
    """A caller that does not use mstoken, and makes proofs as RFC 9449, section 4.2, says."""

    def __init__(self, signer: Signer, token: str = TOKEN) -> None:
        self.signer = signer
        self._token = token
        self.nonce: str | None = None

    def proof(self, method: str, url: str, **changes: Any) -> str:
        """Return a proof for one call. `changes` replace claims, and None leaves a claim out."""
        header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": self.signer.jwk}
        return self.signer.sign(header, self.claims(method, url, **changes))

    def claims(self, method: str, url: str, **changes: Any) -> dict[str, Any]:
        """Return the claims of a proof."""
        digest = hashlib.sha256(self._token.encode("ascii")).digest()
        claims = {
            "jti": secrets.token_hex(16),
            "htm": method,
            "htu": url.partition("#")[0].partition("?")[0],
            "iat": int(time.time()),
            "ath": base64url(digest),
            "nonce": self.nonce,
        } | changes
        return {name: value for name, value in claims.items() if value is not None}

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["X-MS-TOKEN"] = self._token
        request.headers["DPoP"] = self.proof(request.method, str(request.url))
        response = yield request
        if response.status_code == 401 and "DPoP-Nonce" in response.headers:
            self.nonce = response.headers["DPoP-Nonce"]
            request.headers["DPoP"] = self.proof(request.method, str(request.url))
            yield request


@pytest.fixture(params=[Joserfc, Authlib])
def signer(request: pytest.FixtureRequest) -> Signer:
    """A key of joserfc, and in a second run a key of Authlib."""
    made: Signer = request.param()
    return made


async def no_network(url: str) -> NoReturn:
    raise AssertionError(f"auth0 asked for {url}")


@pytest.fixture
def auth0() -> Any:
    """The verifier of Auth0, which must not use the network."""
    return ApiClient(ApiClientOptions(domain="tenant.example.com", audience="product", custom_fetch=no_network))


def verified_by_us(proof: str, key_thumbprint: str, method: str = "GET", url: str = URL, token: str = TOKEN) -> Proof:
    """Verify a proof with our verifier, now."""
    return ProofVerifier().verify(
        [proof],
        method=method,
        url=url,
        token_sha256=token_sha256(token),
        key_thumbprint=key_thumbprint,
        now=time.time(),
        clock_skew_seconds=5,
    )


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("url", [URL, "https://product.example.com:443", "HTTP://Product:8002/a/../b%2fc?ids=a,b#d"])
async def test_auth0_verifies_our_proofs(auth0: Any, method: str, url: str) -> None:
    """Auth0 accepts a proof of `ProofKey` for the call that it was made for."""
    proof = ProofKey().proof(method, url, TOKEN, issued_at=time.time(), nonce="a nonce")
    claims = await auth0.verify_dpop_proof(access_token=TOKEN, proof=proof, http_method=method, http_url=url)
    assert (claims["htm"], claims["nonce"]) == (method, "a nonce")


async def test_auth0_verifies_what_our_client_sends(auth0: Any) -> None:
    """Auth0 accepts what `ServiceAuth` sends with two calls, each of which has a proof of its own."""
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200)

    auth = FakeFirebase().service_auth("billing", to="product", mode="proof")
    async with httpx.AsyncClient(auth=auth, transport=httpx.MockTransport(answer), base_url=BASE_URL) as client:
        await client.get("/products", params={"ids": "a,b"})
        await client.post("/reservations", json={})
    ids = set()
    for request in sent:
        proven = await auth0.verify_dpop_proof(
            access_token=request.headers["X-MS-TOKEN"],
            proof=request.headers["DPoP"],
            http_method=request.method,
            http_url=str(request.url),
        )
        ids.add(proven["jti"])
    assert len(ids) == 2


@pytest.mark.parametrize(
    "url",
    [
        "http://product",
        "http://product?a=b",
        "http://product/products?a=b#c",
        "HTTP://PRODUCT:80/Products/",
        "https://product:0443/",
        "http://product:443/",
        "http://127.0.0.1:8002/products",
        "http://[::1]:8002/products",
        "http://product//a",
        "http://product/a/b/../../../c/./d/..",
        "http://product/%2e%2E/a",
        "http://product/a%2fb%e2%82%ac%252f",
        "http://product/!$&'()*+,;=:@[]",
    ],
)
def test_auth0_normalizes_urls_as_we_do(url: str) -> None:
    """Auth0's normalization of a URL, by the WHATWG URL standard, and ours have the same result."""
    assert normalize_url_for_htu(url) == normalized(url)


def test_hashes_and_thumbprints_are_the_same(signer: Signer) -> None:
    """The other libraries compute the same token hashes and key thumbprints."""
    assert thumbprint(signer.jwk) == signer.thumbprint == calculate_jwk_thumbprint(signer.jwk)
    assert base64url(token_sha256(TOKEN)) == sha256_base64url(TOKEN)


@pytest.mark.parametrize("url", [URL, f"{URL}?ids=a,b", "HTTP://PRODUCT:80/products#a"])
def test_we_verify_the_proofs_of_others(signer: Signer, url: str) -> None:
    """We accept a proof of another library, with any spelling of the URL and with further claims."""
    proof = IndependentClient(signer).proof("POST", url, iat=time.time(), nonce="a nonce", more={"a": [1]})
    assert verified_by_us(proof, signer.thumbprint, "POST").nonce == "a nonce"


@pytest.fixture(params=[None, "made up for the tests, and no secret"], ids=["no nonce", "nonce"])
async def product(request: pytest.FixtureRequest, signer: Signer) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service product, with a token that is bound to another library's key.

    The service does not require nonces, and in a second run it does.
    """
    firebase, app = FakeFirebase(), FastAPI()

    @app.api_route("/products/{name}", methods=["GET", "PUT"])
    async def product(name: str, caller: Annotated[Caller, Depends(allow(services={"billing"}, proof=True))]) -> str:
        return f"{caller} {name}"

    protect(app, firebase.verifier("product", base_url=BASE_URL, nonce_secret=request.param))
    ours = ServiceClaims.bound("billing", "product", signer.thumbprint, minted_at=time.time())
    claims = ours.as_developer_claims()
    auth = IndependentClient(signer, firebase.issue("svc:billing", provider="custom", **claims))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(auth=auth, transport=transport, base_url=BASE_URL) as client:
        yield client


@pytest.mark.parametrize("path", ["/products/pot?a=b", "/products/p%6ft", "/products/../products/pot"])
async def test_another_client_calls_our_service(product: httpx.AsyncClient, path: str) -> None:
    """A client without mstoken calls several times with one token, a new proof each time, and a nonce if required."""
    for method in ("GET", "PUT", "GET"):
        assert (await product.request(method, path)).json() == "svc:billing pot"


async def test_a_proof_of_another_client_is_accepted_once(product: httpx.AsyncClient) -> None:
    """The same request is refused the second time, and so is its proof with another URL."""
    sent = (await product.get("/products/pot")).request
    again = await product.send(sent, auth=None)
    assert (again.status_code, again.json()["code"]) == (401, "proof_replayed")
    elsewhere = await product.get("/products/cup", headers=dict(sent.headers), auth=None)
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (401, "proof_invalid")
    assert elsewhere.headers["WWW-Authenticate"].startswith("DPoP ")


P384, RSA = Joserfc(ECKey.generate_key("P-384")), Joserfc(RSAKey.generate_key(2048))


def tampered(what: str, client: IndependentClient, signer: Joserfc) -> str:
    """Return a proof that is valid except for the part `what`."""
    good, claims = client.proof("GET", URL), client.claims("GET", URL)
    header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": signer.jwk}
    header_part, payload_part, signature = good.split(".")
    match what:
        case "signature":
            value = bytearray(base64url_decode(signature))
            value[-1] ^= 1
            return f"{header_part}.{payload_part}.{base64url(bytes(value))}"
        case "no signature":
            return f"{header_part}.{payload_part}."
        case "payload":
            return f"{header_part}.{base64url(json.dumps(claims).encode())}.{signature}"
        case "another's signature":
            return Joserfc().sign(header, claims)
        case "two parts":
            return f"{header_part}.{payload_part}"
        case "type":
            return signer.sign(header | {"typ": "JWT"}, claims)
        case "alg none":
            return f"{base64url(json.dumps(header | {'alg': 'none'}).encode())}.{payload_part}."
        case "ES384":
            return P384.sign(header | {"alg": "ES384", "jwk": P384.jwk}, claims)
        case "RS256":
            return RSA.sign(header | {"alg": "RS256", "jwk": RSA.jwk}, claims)
        case "no key":
            return signer.sign({"typ": "dpop+jwt", "alg": "ES256"}, claims)
        case "private key":
            return signer.sign(header | {"jwk": signer.key.as_dict(private=True)}, claims)
        case "another curve":
            return signer.sign(header | {"jwk": P384.jwk}, claims)
    raise AssertionError(what)


def is_refused_by_us(proof: str, key_thumbprint: str) -> bool:
    try:
        verified_by_us(proof, key_thumbprint)
    except ProofInvalid:
        return True
    return False


async def is_refused_by(auth0: Any, proof: str) -> bool:
    try:
        await auth0.verify_dpop_proof(access_token=TOKEN, proof=proof, http_method="GET", http_url=URL)
    except (BaseAuthError, ValueError):
        return True
    return False


@pytest.mark.parametrize(
    "what",
    [
        "signature",
        "no signature",
        "payload",
        "another's signature",
        "two parts",
        "type",
        "alg none",
        "ES384",
        "RS256",
        "no key",
        "private key",
        "another curve",
    ],
)
async def test_we_refuse_the_forgeries_that_auth0_refuses(auth0: Any, what: str) -> None:
    """Both verifiers refuse a proof with a wrong header, key or signature."""
    signer = Joserfc()
    proof = tampered(what, IndependentClient(signer), signer)
    assert await is_refused_by(auth0, proof)
    assert is_refused_by_us(proof, signer.thumbprint)


@pytest.mark.parametrize(
    "changes",
    [
        {"jti": None},
        {"jti": ""},
        {"jti": 7},
        {"htm": None},
        {"htm": "POST"},
        {"htu": None},
        {"htu": "http://billing/products"},
        {"htu": "http://product/products/"},
        {"htu": "https://product/products"},
        {"htu": "/products"},
        {"iat": None},
        {"iat": "now"},
        {"iat": 0},
        {"iat": 1_500_000_000},
        {"iat": 4_000_000_000},
        {"ath": None},
        {"ath": sha256_base64url("the.next.token")},
    ],
    ids=lambda changes: f"{next(iter(changes))} {next(iter(changes.values()))}"[:24],
)
async def test_we_refuse_the_claims_that_auth0_refuses(auth0: Any, changes: dict[str, Any]) -> None:
    """Both verifiers refuse a proof with a missing claim, or with a claim for another call, token or time."""
    signer = Joserfc()
    proof = IndependentClient(signer).proof("GET", URL, **changes)
    assert await is_refused_by(auth0, proof)
    assert is_refused_by_us(proof, signer.thumbprint)


async def test_both_accept_the_proof_without_a_change(auth0: Any) -> None:
    """Both verifiers accept the proof that the other tests change, so it is the change that they refuse."""
    signer = Joserfc()
    proof = IndependentClient(signer).proof("GET", URL)
    assert not await is_refused_by(auth0, proof)
    assert not is_refused_by_us(proof, signer.thumbprint)
