"""services/common/backlog.py and services/common/queries.py"""

import logging
from datetime import UTC, datetime, timedelta

import pytest

from mstoken.testing import FakeFirebase
from services.common.app import build
from services.common.backlog import LATER, MAX_COUNTED, SOON, Backlog, Waiting, backlogs_of
from services.common.database import Database
from services.product.app import MIGRATIONS
from services.product.settings import ProductSettings
from tests.services.conftest import NewDatabase
from tests.services.shop import answered, serving

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("waiting", "is_late"),
    [
        (Waiting(0, None), False),
        (Waiting(3, NOW - SOON), False),
        (Waiting(3, NOW - SOON - timedelta(seconds=1)), True),
        (Waiting(3, NOW + LATER), False),
    ],
    ids=["nothing", "on time", "late", "a wrong clock"],
)
def test_when_work_is_late(waiting: Waiting, is_late: bool) -> None:
    """Work is late if the oldest of it has waited for too long, however much there is."""
    assert Backlog.of("deliveries", waiting, NOW, SOON).is_late == is_late


def test_the_text_of_a_backlog() -> None:
    """A backlog says how much waits and for how long. It is not counted without end."""
    assert str(Backlog("deliveries", 3, 61.2, 60.0)) == "backlog of deliveries: 3 waiting, the oldest for 61 s"
    assert "10000 or more waiting" in str(Backlog("deliveries", MAX_COUNTED, 61.2, 60.0))


async def test_readyz_warns_of_work_that_is_late(
    firebase: FakeFirebase, new_database: NewDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    """/readyz names what waits for too long, and the log says how much. The service stays ready."""
    works = [Backlog("orders", 2, 5.0, 60.0), Backlog("deliveries", 3, 61.2, 60.0)]

    async def orders() -> Backlog:
        return works[0]

    async def deliveries() -> Backlog:
        return works[1]

    settings = ProductSettings(database_url=new_database(MIGRATIONS))
    app = build(
        "Test",
        "",
        lambda _routes: None,
        settings=settings,
        verifier=firebase.verifier("product"),
        database=Database(settings.database_url, MIGRATIONS),
        backlogs=[orders, deliveries],
    )
    with caplog.at_level(logging.WARNING):
        async with serving(app) as client:
            assert answered(await client.get("/readyz")) == {"status": "ready", "warnings": ["backlog of deliveries"]}
            assert await backlogs_of(app) == works
    assert "ready, with warnings: backlog of deliveries: 3 waiting, the oldest for 61 s" in caplog.text
