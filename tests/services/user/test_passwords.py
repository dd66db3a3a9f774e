"""services/user/passwords.py"""

import time

import pytest

from emulator.run.logins import LOGINS, Login
from services.user.passwords import is_guessable

MAYA = ("maya.lindgren@example.com", "Maya Lindgren")


@pytest.mark.parametrize(
    "password",
    [
        "password",
        "password1",
        "P@ssw0rd!",
        "12345678",
        "qwertyuiop",
        "iloveyou1",
        "letmein123",
        "aaaaaaaa",
        "a" * 128,
        "abcdefgh",
        "1234abcd",
        "football1999",
    ],
)
def test_what_attackers_try_first_is_guessable(password: str) -> None:
    """Common passwords, with the usual changes, repeated characters and sequences are guessable."""
    assert is_guessable(password, [])


@pytest.mark.parametrize(
    "password",
    ["maya.lindgren@example.com", "lindgren", "Lindgren1", "l1ndgr3n", "Maya2026", "maya.lindgren", "mstoken2026"],
)
def test_what_is_known_about_the_user_and_the_shop_is_guessable(password: str) -> None:
    """The user's e-mail address and name, and the name of the shop, are guessable, with a few more characters too."""
    assert is_guessable(password, MAYA)


@pytest.mark.parametrize("password", ["kettle-harbour-42", "correct horse battery", "xkqzjvbw", "vier Tassen Tee"])
def test_other_passwords_are_not_guessable(password: str) -> None:
    """Several words that have nothing to do with each other, and random letters, are not guessable."""
    assert not is_guessable(password, MAYA)


@pytest.mark.parametrize("login", LOGINS, ids=lambda login: login.email)
def test_the_demo_passwords_are_not_guessable(login: Login) -> None:
    """The users of the demo could sign up with their passwords."""
    assert not is_guessable(login.password, [login.email, login.name])


@pytest.mark.parametrize("pattern", ["4@(3!1|0", "p@55w0rd", "a", "aA1!"])
def test_the_longest_password_costs_little_time(pattern: str) -> None:
    """A password of 128 characters that is made to be slow to examine costs well below a second."""
    password = (pattern * 128)[:128]
    began = time.process_time()
    is_guessable(password, MAYA)
    assert time.process_time() - began < 0.3
