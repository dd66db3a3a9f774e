"""Key files: writing a new private key, and reading a public one."""

import json
import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mstoken.cli.errors import CommandError
from mstoken.issuer.keys import RegisteredKey
from mstoken.jwk import PRIVATE_MEMBERS, PUBLIC_MEMBERS, public_jwk

MAX_FILE_BYTES = 65_536


def write_private_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Write `key` as PKCS#8 in PEM into a new file that only its owner can read (mode 0600).

    Raise OSError, in particular FileExistsError: no file is ever overwritten.
    """
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(pem)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def read_public_key(path: Path) -> RegisteredKey:
    """Return the public key in a file, which is PEM or a JWK, as the policy registers it.

    Raise `CommandError` if the file holds anything else, and OSError. No error repeats what the file holds.
    """
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES)
    is_json = content.lstrip().startswith(b"{")
    try:
        jwk = json.loads(content) if is_json else public_jwk(serialization.load_pem_public_key(content))
        if PRIVATE_MEMBERS.isdisjoint(jwk):
            known = {name: jwk[name] for name in (*PUBLIC_MEMBERS, "alg", "use") if name in jwk}
            return RegisteredKey.model_validate({"jwk": known})
    except (ValueError, RecursionError, UnsupportedAlgorithm):
        if b"PRIVATE KEY" not in content:
            raise CommandError(f"{path}: expected a public key, EC P-256, in PEM or as a JWK.") from None
    raise CommandError(f"{path}: this is a private key. Register the public key that belongs to it.")
