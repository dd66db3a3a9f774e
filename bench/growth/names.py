"""The names of the quantities and cases of the section, which targets, charts and tests use."""

SPEND = "time of a spend"
PAGE = "time of a request"
AUDIENCE = "time of one audience among so many"
SPENT_MEMORY = "memory of spent ids"
SPENT_DISK = "disk of spent ids"
AUDIENCE_MEMORY = "memory of audiences"
READY_MEMORY = "memory when ready"
USED_MEMORY = "memory after 1,000 requests"

POST_BILLS = "POST /bills"
FIRST_PAGE = "GET /bills, page 1"
FIRST_PAGE_OF_ALL = "GET /bills of all, page 1"
DEEP_PAGE_OF_ALL = "GET /bills of all, page 1,000"
SEARCH = "GET /products?q=, one is found"
SEARCH_COMMON = "GET /products?q=, all are found"
EMPTY = 25
"""How many bills the empty shop has: enough for a whole page."""
BILLS_TARGET = 100_000
"""At how many bills the requests may take 1.2 times as long as in an empty shop."""


DATABASES = ("SQLite", "PostgreSQL")


def in_shop(request: str, database: str) -> str:
    """Return the case of a request on "SQLite" or "PostgreSQL"."""
    return f"{request}, {database}"
