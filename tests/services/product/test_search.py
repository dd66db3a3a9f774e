"""services/product/search.py, and the indexes of words in both databases"""

from random import Random

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstoken.testing import FakeFirebase
from services.common.database import Database
from services.product.app import MIGRATIONS
from services.product.catalogue import Product
from services.product.search import MAX_WORD, search_text, words_of
from services.product.store import ProductStore
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


@pytest.mark.both_databases
async def test_the_products_that_are_looked_at_and_the_index_give_the_same_pages(database_url: str) -> None:
    """However many products a search looks at before it asks the index, its pages are those of the rule for words.

    The words are what PostgreSQL or FTS5 could read in another way: numbers, capitals, accents, other scripts.
    """
    random = Random(17)
    alphabet = [
        "a",
        "b",
        "e",
        "E",
        "1",
        "0",
        "5",
        "\u00e9",
        "\u00df",
        "\u0130",
        "\u0939\u0940",
        "\u6025",
        "\u03a3",
        "\U0001d7d9",
    ]

    def text(most: int) -> str:
        words = ("".join(random.choices(alphabet, k=random.randint(1, 6))) for _ in range(random.randint(1, most)))
        return random.choice([" ", "-", "_", "% "]).join(words)

    offered = [Product(f"{number:032x}", text(4), text(6), 1, "USD", 1) for number in range(1, 241)]
    offered.append(Product(f"{241:032x}", "12e5abc", "", 1, "USD", 1))
    database = Database(database_url, MIGRATIONS)
    await database.open()
    stores = [ProductStore(database, look_ahead=count) for count in (1, 2, 50, 241, 242)]
    for product in random.sample(offered, len(offered)):
        await stores[0].add(product)
    queries = [text(2)[: random.randint(1, 4)] for _ in range(60)]
    for words in ["abc", "12e5", "12e5abc", "a", "1", "e", "a 1 a", *queries]:
        limit, ids = random.randint(1, 30), {product.id for product in random.sample(offered, 50)}
        after = random.choice([None, random.choice(offered).id])
        matches = [product for product in offered if product.id > (after or "") and _has(product, words)]
        for store in stores:
            assert await store.find(ids=None, words=words, after=after, limit=limit) == matches[:limit]
        few = [product for product in matches if product.id in ids]
        assert await stores[0].find(ids=ids, words=words, after=after, limit=limit) == few[:limit]
    await database.close()


def _has(product: Product, words: str) -> bool:
    its_words = search_text(product.name, product.description).split()
    searched = words_of(words)
    return bool(searched) and all(any(one.startswith(word) for one in its_words) for word in searched)
