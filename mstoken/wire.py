"""The names and limits of what travels between services: headers, claims, auth-schemes, ages, sizes.

Sources: RFC 9449 (DPoP), RFC 7523 (assertions), RFC 9110 (challenges); Firebase, "Create custom tokens" (reserved
claim names) and "Manage user sessions" (lifetime of ID tokens).
"""

from typing import Literal, TypeAlias

Mode: TypeAlias = Literal["fresh", "proof"]
"""`fresh`: a new token for each call. `proof`: one token an hour, and a new proof for each call."""
MODES: tuple[Mode, ...] = ("fresh", "proof")

SERVICE_TOKEN_HEADER = "X-MS-TOKEN"
"""The request header with the service token. A request has it exactly once."""
PROOF_HEADER = "DPoP"
"""The request header with the proof. A request has it exactly once (RFC 9449, section 4.1)."""
NONCE_HEADER = "DPoP-Nonce"
"""The response header with the nonce that the next proof must carry (RFC 9449, section 8.2)."""

API_KEY_HEADER = "x-goog-api-key"
"""The request header with the project's web API key (Google Cloud, "Use API keys to access APIs").

Firebase accepts the key in the query too, but HTTP libraries log URLs.
"""

SERVICE_SCHEME = "MsToken"
"""The auth-scheme of challenges about `X-MS-TOKEN` (RFC 9110, section 11.1)."""
PROOF_SCHEME = "DPoP"
"""The auth-scheme of challenges about proofs (RFC 9449, section 7.1)."""
BEARER_SCHEME = "Bearer"
"""The auth-scheme of users' tokens, and of credentials for the token service (RFC 6750)."""

UID_PREFIX = "svc:"
"""The prefix of the Firebase uid of every service identity."""
SERVICE_CLAIM = "ms"
"""The developer claim that makes an ID token a service token.

It is an object, because Firebase reserves the names `aud`, `jti`, `cnf` and `nonce` among developer claims.
"""
CLAIM_VERSION = 1
"""The version of the `ms` claim that this library writes and reads."""

PROOF_TYPE = "dpop+jwt"
"""The `typ` of a proof (RFC 9449, section 4.2)."""
SIGNATURE_ALGORITHM = "ES256"
"""The one signature algorithm of proofs and of assertions: ECDSA with P-256 and SHA-256 (RFC 7518, section 3.4)."""

ID_TOKEN_LIFETIME_SECONDS = 3600
"""Lifetime of a Firebase ID token, in seconds."""
CUSTOM_TOKEN_LIFETIME_SECONDS = 3600
"""Lifetime of a custom token, in seconds (Firebase, "Create custom tokens")."""
FRESH_TOKEN_MAX_AGE_SECONDS = 60
"""Maximum age of a fresh service token, in seconds, however often somebody signed in with its custom token."""
BOUND_TOKEN_MAX_AGE_SECONDS = 3600
"""Maximum age of a bound service token, in seconds, however often its session was refreshed."""
PROOF_MAX_AGE_SECONDS = 30
"""Maximum age of a proof, in seconds. A proof is made just before its call, so this covers slow networks."""
ASSERTION_MAX_AGE_SECONDS = 60
"""Maximum age of an assertion, with which a service authenticates to the token service, in seconds."""
STATUS_MAX_AGE_SECONDS = 10
"""How long a callee may use what it knows of an identity, in seconds, before it asks again if the identity is alive."""
CLOCK_SKEW_SECONDS = 5
"""Maximum difference between the clocks of two machines, in seconds."""

MAX_TOKEN_BYTES = 8192
"""Maximum length of any JWT that this library reads, in bytes."""
MAX_JTI_CHARACTERS = 128
"""Maximum length of the `jti` of a proof or of an assertion, in characters."""
