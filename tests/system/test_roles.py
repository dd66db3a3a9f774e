"""An administrator who loses the role, at the running services."""

import os
import subprocess
import sys
import time
from typing import Any

import httpx

from emulator.run.logins import Login
from emulator.run.shop_client import TIMEOUT_SECONDS
from emulator.run.stack import ROOT, Stack
from mstoken.settings import AUTH_EMULATOR_VARIABLE
from tests.waiting import WAIT_SECONDS

REVOKED_WITHIN_SECONDS = 30.0
OFFER = {"name": "Tea pot", "description": "", "price": {"amount": 1999, "currency": "USD"}, "stock": 1}


def session(stack: Stack, path: str, body: dict[str, str]) -> dict[str, Any]:
    """Return the session in the answer of User."""
    answer = httpx.post(stack.url("user") + path, json=body, timeout=TIMEOUT_SECONDS)
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


def add_product(stack: Stack, id_token: str) -> str:
    """Add a product as a user. Return the code of the refusal, or "accepted"."""
    headers = {"Authorization": f"Bearer {id_token}"}
    answer = httpx.post(f"{stack.url('product')}/products", json=OFFER, headers=headers, timeout=TIMEOUT_SECONDS)
    return str(answer.json().get("code", "accepted"))


def refreshed_at_firebase(stack: Stack, refresh_token: str) -> str:
    """Return a new ID token for a session from Firebase itself, without User."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    answer = httpx.post(
        f"{stack.settings.secure_token_url}/token", params={"key": "any"}, data=form, timeout=WAIT_SECONDS
    )
    return str(answer.raise_for_status().json()["id_token"])


def remove_role(stack: Stack, email: str) -> str:
    """Run the command that removes the role of a user, and return what it prints."""
    variables = {"GOOGLE_CLOUD_PROJECT": stack.project, AUTH_EMULATOR_VARIABLE: stack.auth_host}
    command = [sys.executable, "-m", "mstoken", "users", "role", email, "--remove"]
    done = subprocess.run(command, env=os.environ | variables, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def test_an_administrator_who_loses_the_role_is_refused_within_seconds(stack: Stack, admin: Login) -> None:
    """Product refuses the token within seconds, and no refresh brings the role back. After a log-in it is gone."""
    credentials = {"email": admin.email, "password": admin.password}
    before = session(stack, "/login", credentials)
    assert add_product(stack, before["id_token"]) == "accepted"

    assert "has no role now" in remove_role(stack, admin.email)
    give_up_at = time.monotonic() + REVOKED_WITHIN_SECONDS
    while (code := add_product(stack, before["id_token"])) == "accepted" and time.monotonic() < give_up_at:
        time.sleep(0.2)
    assert code == "user_token_revoked"

    refresh = {"refresh_token": before["refresh_token"]}
    refused = httpx.post(f"{stack.url('user')}/token/refresh", json=refresh, timeout=TIMEOUT_SECONDS)
    assert (refused.status_code, refused.json()["code"]) == (401, "refresh_token_invalid")
    assert add_product(stack, refreshed_at_firebase(stack, before["refresh_token"])) == "user_token_revoked"

    after = session(stack, "/login", credentials)
    assert add_product(stack, after["id_token"]) == "caller_not_allowed"
    assert add_product(stack, refreshed_at_firebase(stack, before["refresh_token"])) == "caller_not_allowed"
