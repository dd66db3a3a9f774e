"""What doctor checks about the store in which processes share the status of identities."""

from mstoken.cli.checks import Finding
from mstoken.cli.status_checks import check_shared_status
from mstoken.errors import VerifierUnavailable
from tests.clock import FakeClock
from tests.mstoken.callee.status_stores import MemoryStatusStore
from tests.mstoken.cli.setups import laptop
from tests.redis_server import RedisServer


class DownStatusStore(MemoryStatusStore):
    """A store that cannot be reached. Its error repeats the password."""

    async def ask(self, *_arguments: object) -> dict[str, object]:  # type: ignore[override] # it raises
        raise VerifierUnavailable("redis://:s3cret@redis.internal does not answer.")


def check(**settings: str) -> Finding | None:
    return check_shared_status(laptop(**settings))


def test_without_the_setting_there_is_nothing_to_say() -> None:
    """The store of spent ids has a check of its own."""
    assert check(replay_url="redis://redis.internal") is None


def test_sharing_is_switched_off() -> None:
    """The report says what that means."""
    finding = check(status_url="memory:")
    assert finding is not None
    assert (finding.state, finding.text) == ("ok", "switched off by MSTOKEN_STATUS_URL=memory:")


def test_a_redis_that_works(redis_server: RedisServer) -> None:
    """The report says what it gives."""
    finding = check(status_url=redis_server.url)
    assert finding is not None
    assert (finding.state, finding.text) == ("ok", "redis: works. All processes that use it share their look-ups.")


def test_a_redis_that_cannot_be_reached() -> None:
    """It is a warning, because calls go on. The password is hidden."""
    settings = laptop(status_url="redis://:s3cret@redis.internal")
    finding = check_shared_status(settings, make_store=lambda _: DownStatusStore(FakeClock()))
    assert finding is not None
    assert finding.state == "warning"
    assert finding.text.endswith("Each process looks up identities by itself meanwhile.")
    assert "s3cret" not in finding.text


def test_a_url_that_redis_cannot_read() -> None:
    """The setting is wrong, so the process would not start."""
    finding = check(status_url="redis://:s3cret@host:port")
    assert finding is not None
    assert (finding.state, finding.advice) == ("error", "Correct MSTOKEN_STATUS_URL.")
    assert "s3cret" not in finding.text
