"""Which passwords are refused because attackers try them first.

NIST asks for a comparison with passwords of earlier breaches, words of dictionaries, repeated and sequential
characters, and words of the context such as the user's name. zxcvbn has lists for all of these, and counts the guesses
that an attacker needs who tries them in the best order, with the usual changes of letters to digits.

Source: NIST SP 800-63B, section 5.1.1.2 (memorized secret verifiers); Daniel Wheeler, "zxcvbn: Low-Budget Password
Strength Estimation", USENIX Security 2016.
"""

import re
from collections.abc import Collection

MIN_GUESSES = 1_000_000
"""The guesses that a password must withstand. It is the limit that zxcvbn names for guesses over a network."""

EXAMINED_CHARACTERS = 32
"""Only the beginning of a longer password is examined: the time grows faster than the length, and is 20 ms for 32."""

SHOP_WORDS = ("mstoken", "shop")
"""Words that an attacker of this shop tries first."""

_BETWEEN_WORDS = re.compile(r"\W+")
_BETWEEN_PARTS = re.compile(r"[@\s]+")


def is_guessable(password: str, user_texts: Collection[str]) -> bool:
    """Return whether an attacker guesses `password` with fewer than `MIN_GUESSES` guesses.

    `user_texts` are what the attacker knows about the user: the e-mail address and the name.
    """
    # Imported here, because its lists of words take time to load, and a process that starts does not need them.
    from zxcvbn import zxcvbn

    parts = [part for text in user_texts for part in _BETWEEN_PARTS.split(text) + _BETWEEN_WORDS.split(text)]
    known = [*SHOP_WORDS, *user_texts, *filter(None, parts)]
    return bool(zxcvbn(password[:EXAMINED_CHARACTERS], user_inputs=known)["guesses"] < MIN_GUESSES)
