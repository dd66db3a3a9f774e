"""A forge whose valid tokens the signed Auth emulator signs."""

import json
from typing import Any

import httpx
from typing_extensions import override

from mstoken.emulator.keys import Key
from mstoken.emulator.signed_auth import CERTIFICATES_PATH
from mstoken.testing.forge import Claims, Forge


class EmulatorForge(Forge):
    """Makes tokens of `project`. The signed Auth emulator at `auth_url` signs its ID tokens.

    With a client `http`, many tokens take less time than with a connection for each.
    """

    def __init__(self, auth_url: str, project: str, own_key: Key, http: httpx.Client | None = None) -> None:
        super().__init__(project, own_key)
        self._auth_url = auth_url
        self._http = http or httpx

    @override
    def signed(self, claims: Claims | str, **header: Any) -> str:
        text = claims if isinstance(claims, str) else json.dumps(claims)
        order = {"header": header, "payload_text": text, "key": "published"}
        # Encoded here, because httpx does not escape surrogates, which stand for bytes that are not UTF-8.
        body, kind = json.dumps(order), {"Content-Type": "application/json"}
        answer = self._http.post(f"{self._auth_url}/_signed/tokens", content=body, headers=kind)
        token: str = answer.raise_for_status().json()["token"]
        return token

    @override
    def certificates(self) -> dict[str, str]:
        found: dict[str, str] = self._http.get(f"{self._auth_url}{CERTIFICATES_PATH}").raise_for_status().json()
        return found
