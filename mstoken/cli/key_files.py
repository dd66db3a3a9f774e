"""Keys in files: made, written where nobody else can read them, and read in public."""

import json
import os
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from pydantic import ValidationError

from mstoken.caller.credentials import PrivateKey
from mstoken.cli.failures import CommandError
from mstoken.issuer.keys import RegisteredKey
from mstoken.jwk import PRIVATE_MEMBERS, PUBLIC_MEMBERS, public_jwk

WANTED = "a public key is wanted, EC P-256 or Ed25519, in PEM or as JWK"
LARGEST_BYTES = 65_536


class Kind(Enum):
    """The algorithms of registered keys (RFC 7518, section 3.1; RFC 8037, section 3.1)."""

    ES256 = "ES256"
    EDDSA = "EdDSA"


def new_key(kind: Kind) -> PrivateKey:
    """A new private key."""
    return ec.generate_private_key(ec.SECP256R1()) if kind is Kind.ES256 else ed25519.Ed25519PrivateKey.generate()


def registered(jwk: Mapping[str, Any]) -> RegisteredKey:
    """A key as the policy has it. Raises `CommandError` for one that it cannot have, repeating nothing of it."""
    try:
        return RegisteredKey.model_validate({"jwk": dict(jwk)})
    except ValidationError:
        raise CommandError(f"it is no such key: {WANTED}.") from None


def write_private(path: Path, key: PrivateKey) -> None:
    """Writes a private key as PKCS#8 in PEM, into a new file that only its owner can read. Raises OSError."""
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(pem)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def read_public(path: Path) -> dict[str, str]:
    """The public key in a file, PEM or JWK, as JWK. Raises `CommandError` and OSError; nothing of it is repeated."""
    with path.open("rb") as file:
        content = file.read(LARGEST_BYTES)
    try:
        jwk = _from_jwk(content) if content.lstrip().startswith(b"{") else _from_pem(content)
        return _members(registered(jwk).jwk.model_dump())
    except CommandError as error:
        raise CommandError(f"{path}: {error}") from None


def _from_jwk(content: bytes) -> dict[str, Any]:
    try:
        jwk = json.loads(content)
    except (ValueError, RecursionError):
        raise CommandError(f"it is no JSON: {WANTED}.") from None
    if not PRIVATE_MEMBERS.isdisjoint(jwk):
        raise _private()
    return {name: jwk[name] for name in (*PUBLIC_MEMBERS, "alg", "use") if name in jwk}


def _from_pem(content: bytes) -> dict[str, Any]:
    if b"PRIVATE KEY" in content:
        raise _private()
    try:
        key = serialization.load_pem_public_key(content)
    except ValueError:
        raise CommandError(f"it is no PEM: {WANTED}.") from None
    try:
        return dict(public_jwk(key))
    except ValueError:
        raise CommandError(f"it is a key of another kind: {WANTED}.") from None


def _private() -> CommandError:
    return CommandError("it is a private key, and only its public half is to be registered.")


def _members(jwk: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(jwk[name]) for name in PUBLIC_MEMBERS if name in jwk}
