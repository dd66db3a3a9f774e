"""services/product/search.py, and the indexes of words in both databases"""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstoken.testing import FakeFirebase
from services.product.search import MAX_WORD, search_text, words_of
from tests.services.shop import KETTLE, answered


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Kettle, 100 %", ["kettle", "100"]),
        ("under_score it's", ["under", "score", "it", "s"]),
        ("Straße ÉCRU naïve İstanbul", ["strasse", "ecru", "naive", "istanbul"]),
        ("\uff37\uff49\uff44\uff45 \u2460 \ufb01ne", ["wide", "1", "fine"]),
        ("急須 small", ["急", "須", "small"]),
        ("हिन्दी", ["हिनदी"]),
        ("\u00e9 e\u0301", ["e", "e"]),
        ("a" * 100, ["a" * MAX_WORD]),
        ('"* & | ! : ( )', []),
        ("", []),
    ],
    ids=range(10),
)
def test_the_words_of_a_text(text: str, words: list[str]) -> None:
    """Words are letters and digits without case and accents. What has no spaces between words is split."""
    assert words_of(text) == words


@given(st.text())
def test_words_have_no_meaning_in_a_query_language(text: str) -> None:
    """Words contain nothing that could end a quotation or be an operator, and making them again changes nothing."""
    words = words_of(text)
    assert not set("".join(words)) & set("\"'*&|!:()<>^+-\\ \n\0")
    assert words_of(search_text(text, "")) == words


PRODUCTS = {
    "kettle": ("Kettle, 100 %", "It pours tea."),
    "pot": ("Tea pot", "Made of steel, naïve design"),
    "tea": ("ÉCRU tea", "NEAR the sea AND the NOT so far OR"),
    "map": ("Straße map", "急須と地図"),
}


@pytest.fixture
async def offered(product: httpx.AsyncClient, firebase: FakeFirebase) -> httpx.AsyncClient:
    """The Product service with a few products."""
    admin = firebase.user_headers("ines", role="admin")
    for name, description in PRODUCTS.values():
        body = KETTLE | {"name": name, "description": description}
        answered(await product.post("/products", json=body, headers=admin), 201)
    return product


async def found(product: httpx.AsyncClient, firebase: FakeFirebase, words: str, **more: str) -> set[str]:
    """Return the keys in `PRODUCTS` of what a search finds."""
    answer = await product.get("/products", params={"q": words, **more}, headers=firebase.user_headers("maya"))
    names = {item["name"] for item in answered(answer)["items"]}
    return {key for key, (name, _) in PRODUCTS.items() if name in names}


@pytest.mark.both_databases
async def test_what_a_search_finds(offered: httpx.AsyncClient, firebase: FakeFirebase) -> None:
    """Every word must begin a word of the product. Order, case, accents and punctuation do not matter."""
    expected = {
        "tea": {"kettle", "pot", "tea"},
        "TEA pours": {"kettle"},
        "pours, tea!": {"kettle"},
        "ket": {"kettle"},
        "ettle": set[str](),
        "ecru": {"tea"},
        "e\u0301cru": {"tea"},
        "NAIVE": {"pot"},
        "strasse": {"map"},
        "STRAẞE": {"map"},
        "急須": {"map"},
        "地": {"map"},
        "茶": set[str](),
        "100": {"kettle"},
        "tea nothing": set[str](),
        "near": {"tea"},
        "not": {"tea"},
        "tea OR pot": set[str](),
        "%": set[str](),
        "🍵": set[str](),
    }
    assert {words: await found(offered, firebase, words) for words in expected} == expected


@pytest.mark.both_databases
@pytest.mark.parametrize(
    "words",
    [
        'tea" OR "pot',
        "tea*",
        "NEAR(tea pot, 1)",
        "name : tea",
        "-tea",
        "^tea",
        "tea & !pot",
        "tea:*A",
        "'tea' <-> 'pot'",
        "\\",
        "'",
        '"',
        "tea'); DROP TABLE products; --",
        "words:tea",
        "(" * 99,
        "a " * 49,
    ],
    ids=range(16),
)
async def test_operators_have_no_meaning(offered: httpx.AsyncClient, firebase: FakeFirebase, words: str) -> None:
    """What is an operator in the query languages of the databases is punctuation in a search: it is never an error."""
    expected = {
        key
        for key, texts in PRODUCTS.items()
        if words_of(words)
        and all(any(one.startswith(word) for one in search_text(*texts).split()) for word in words_of(words))
    }
    assert await found(offered, firebase, words) == expected


@pytest.mark.both_databases
async def test_pages_of_a_search(product: httpx.AsyncClient, firebase: FakeFirebase) -> None:
    """The pages of a search follow each other, and do not contain what was deleted or renamed."""
    admin, ids = firebase.user_headers("ines", role="admin"), []
    for number in range(7):
        body = KETTLE | {"name": f"Blue cup {number}" if number % 2 else f"Red cup {number}"}
        ids.append(answered(await product.post("/products", json=body, headers=admin), 201)["id"])
    await product.delete(f"/products/{ids[5]}", headers=admin)
    await product.patch(f"/products/{ids[0]}", json={"name": "Now it is blue"}, headers=admin)
    await product.patch(f"/products/{ids[1]}", json={"stock": 3}, headers=admin)
    seen, cursor = [], None
    while True:
        params = {"q": "blue", "limit": "1"} | ({"cursor": cursor} if cursor else {})
        page = answered(await product.get("/products", params=params, headers=admin))
        seen += [item["id"] for item in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == [ids[0], ids[1], ids[3]]
    both = {"q": "blue", "ids": f"{ids[1]},{ids[2]}"}
    assert [item["id"] for item in answered(await product.get("/products", params=both, headers=admin))["items"]] == [
        ids[1]
    ]
