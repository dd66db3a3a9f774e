"""Search in the catalogue: what counts as a word, in products and in what a customer types.

A product is found if each word of the query is the beginning of a word in its name or description. Case, accents and
punctuation do not matter. Chinese, Japanese, Thai and similar texts have no spaces between words, so each of their
characters is a word.

The databases only compare words that this module has made, so that they find the same. Words consist of letters and
digits: nothing in them has a meaning in the query languages of FTS5 and of tsquery.
"""

import re
import unicodedata

MAX_WORD = 64
"""Characters of a word that count. PostgreSQL does not index words of more than 2046 bytes."""

_WITHOUT_SPACES = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff])"
)
"""Thai, Lao, Myanmar, Khmer, Hiragana, Katakana, and Han."""


def words_of(text: str) -> list[str]:
    """Return the words of a text, in their order."""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    without_accents = "".join(character for character in folded if unicodedata.category(character) != "Mn")
    spaced = _WITHOUT_SPACES.sub(r" \1 ", without_accents)
    kept = "".join(character if _belongs_to_a_word(character) else " " for character in spaced)
    return [word[:MAX_WORD] for word in kept.split()]


def search_text(name: str, description: str) -> str:
    """Return the words of a product, as the databases index them."""
    return " ".join(words_of(f"{name} {description}"))


def _belongs_to_a_word(character: str) -> bool:
    # Spacing marks are vowels in the scripts of India.
    return character.isalnum() or unicodedata.category(character) == "Mc"
