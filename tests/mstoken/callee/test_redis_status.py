"""The store of shared identity status in Redis. The tests start their own Redis."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from textwrap import dedent

import pytest
from typing_extensions import override

from mstoken.callee.redis_status import RedisStatusStore
from mstoken.callee.shared_status import Found, SharedDirectory, write_entry
from mstoken.callee.status import StatusCache
from mstoken.errors import VerifierUnavailable
from mstoken.testing import FakeFirebase
from tests.mstoken.callee.status_stores import StatusStoreContract
from tests.redis_server import RedisClusterServers, RedisServer

ROOT = Path(__file__).parents[3]
BILLING = "svc:billing"
LONG_SECONDS = 30.0
"""Longer than any answer takes, also on a busy machine."""
PAIR_SECONDS = 17
"""Ends shortly before a look-up would be due, so one that is early is counted too."""
GROUP = "spent"
"""The group of all identities on one server."""


@pytest.fixture
async def one_server(redis_url: str) -> AsyncIterator[RedisStatusStore]:
    store = RedisStatusStore(redis_url, "demo-shop")
    yield store
    await store.aclose()


class TestRedisStatusStore(StatusStoreContract):
    """On one server."""

    @pytest.fixture
    def store(self, one_server: RedisStatusStore) -> RedisStatusStore:
        return one_server

    async def test_projects_do_not_share(self, redis_url: str, store: RedisStatusStore) -> None:
        """Two Firebase projects may use the same Redis. Their identities have the same names."""
        other = RedisStatusStore(redis_url, "demo-other")
        await store.ask({"a": 9.0}, "first")
        assert (await other.ask({"a": 9.0}, "second"))["a"].found is Found.LEASE
        await other.aclose()

    async def test_redis_deletes_what_is_too_old(self, redis_server: RedisServer, store: RedisStatusStore) -> None:
        """Nothing that this store writes stays for longer than 10 s."""
        lease = (await store.ask({"a": 9.0, "b": 9.0}, "first"))["a"]
        await store.tell({"a": "text"}, {"a": lease.now_ms}, "first")
        await store.fail(["b"], "first")
        keys = redis_server.command("KEYS", "*")
        assert keys
        # -1 would be a key that stays; -2 is one that has gone meanwhile.
        assert all(-1 != int(redis_server.command("PTTL", key)) <= 10_000 for key in keys)

    @pytest.mark.parametrize("value", ["", "nonsense", "9 ", "-1 {}", "99999999999999 {}", "1e3 {}", "\x00\xff"])
    async def test_a_value_that_is_no_entry(
        self, redis_server: RedisServer, store: RedisStatusStore, value: str
    ) -> None:
        """It does not count, and a look-up replaces it."""
        redis_server.command("SET", store.entry_key(GROUP, "a"), value)
        lease = (await store.ask({"a": 9.0}, "first"))["a"]
        assert lease.found is Found.LEASE
        await store.tell({"a": "text"}, {"a": lease.now_ms}, "first")
        assert (await store.ask({"a": 9.0}, "second"))["a"].entry == "text"

    async def test_a_poisoned_entry_leads_to_a_look_up(
        self, redis_server: RedisServer, store: RedisStatusStore
    ) -> None:
        """A value of the wrong shape, or about another identity, does not keep a disabled identity alive."""
        firebase = FakeFirebase()
        firebase.disable(BILLING)
        alive = write_entry("svc:user", None)
        for text in ("{}", alive, '{"uid": "svc:billing", "exists": true}'):
            now = int(time.time() * 1000)
            redis_server.command("SET", store.entry_key(GROUP, BILLING), f"{now - 5} {text}")
            cache = StatusCache(firebase, shared=store)
            assert not await cache.is_alive(BILLING, 0)

    async def test_an_identity_is_looked_up_once(self, store: RedisStatusStore) -> None:
        """A thousand processes that start together make one look-up."""
        firebase = FakeFirebase()
        firebase.issue(BILLING, provider="custom")
        directories = [SharedDirectory(firebase, store, store_seconds=LONG_SECONDS) for _ in range(1_000)]
        found = await asyncio.gather(*(each.look_up({BILLING: 9.0}) for each in directories))
        assert {each[BILLING].status for each in found} == {found[0][BILLING].status}
        assert max(each[BILLING].age_seconds for each in found) <= LONG_SECONDS
        assert firebase.look_ups == 1

    async def test_a_url_that_decodes_answers(self, redis_url: str) -> None:
        """An option in the URL makes redis-py return text in place of bytes."""
        store = RedisStatusStore(f"{redis_url}?decode_responses=true", "demo-shop")
        lease = (await store.ask({"a": 9.0}, "first"))["a"]
        await store.tell({"a": "text"}, {"a": lease.now_ms}, "first")
        assert (await store.ask({"a": 9.0}, "second"))["a"].entry == "text"
        await store.aclose()


class TestRedisClusterStatusStore(StatusStoreContract):
    """On the nodes of a cluster."""

    @pytest.fixture
    async def store(self, redis_cluster: RedisClusterServers) -> AsyncIterator[RedisStatusStore]:
        redis_cluster.flush()
        store = RedisStatusStore(redis_cluster.url, "demo-shop")
        yield store
        await store.aclose()


class TestRedisStatusOutages:
    """Redis goes away, hangs, and comes back."""

    async def test_redis_is_away_and_comes_back(self, own_redis: RedisServer) -> None:
        """The store says so. It is used again without a restart of the process."""
        store = RedisStatusStore(own_redis.url, "demo-shop")
        own_redis.kill()
        with pytest.raises(VerifierUnavailable, match="The Redis of identity status cannot be used"):
            await store.ask({"a": 9.0}, "first")
        own_redis.start()
        assert (await store.ask({"a": 9.0}, "first"))["a"].found is Found.LEASE
        await store.aclose()

    async def test_redis_hangs(self, own_redis: RedisServer) -> None:
        """A call waits for a quarter of a second at most, and later calls not at all."""
        firebase = FakeFirebase()
        store = RedisStatusStore(own_redis.url, "demo-shop")
        cache = StatusCache(firebase, shared=store)
        firebase.issue(BILLING, provider="custom")
        own_redis.hang()
        assert await cache.is_alive(BILLING, 0)
        assert cache.sharing_error is not None
        began = time.perf_counter()
        for number in range(50):
            assert not await cache.is_alive(f"svc:new-{number}", 0)
        # Fifty waits would take 12 s.
        assert time.perf_counter() - began < 5
        assert firebase.look_ups == 51
        own_redis.go_on()
        await cache.aclose()


class CountingFirebase(ThreadingHTTPServer):
    """Firebase's look-ups of accounts, which it counts. It knows svc:billing."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _LookUps)
        self.asked: list[str] = []
        self._serving = threading.Thread(target=self.serve_forever, name="counting Firebase")

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> "CountingFirebase":
        self._serving.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self._serving.join()
        self.server_close()


class _LookUps(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, CountingFirebase)
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(self.path)
        body = json.dumps({"users": [{"localId": BILLING, "validSince": "0", "createdAt": "1700000000000"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


CALLEE = f"""
    import asyncio, sys, time
    from mstoken.callee.firebase import AdminDirectory
    from mstoken.callee.shared_status import status_store
    from mstoken.callee.status import StatusCache
    from mstoken.settings import Settings

    async def main():
        settings = Settings()
        cache = StatusCache(AdminDirectory(settings), shared=status_store(settings))
        cache._shared._store_seconds = {LONG_SECONDS}
        await cache.open()
        print("ready", flush=True)
        end = float(await asyncio.to_thread(sys.stdin.readline))
        while time.monotonic() < end:
            assert await cache.is_alive("{BILLING}", 0)
            await asyncio.sleep(0.05)
        await cache.aclose()

    asyncio.run(main())
"""


@pytest.fixture
def counting() -> Iterator[CountingFirebase]:
    with CountingFirebase() as server:
        yield server


@pytest.mark.process
@pytest.mark.slow
def test_a_real_pair_looks_up_as_often_as_the_simulated_thousand(
    redis_url: str, counting: CountingFirebase, tmp_path: Path
) -> None:
    """Two processes with a Redis and firebase-admin make one look-up for each 9 s, as 1,000 simulated ones do."""
    environment = {
        "GOOGLE_CLOUD_PROJECT": "demo-pair",
        "FIREBASE_AUTH_EMULATOR_HOST": counting.host,
        "MSTOKEN_STATUS_URL": redis_url,
    }
    with ExitStack() as ending:
        pair = [
            ending.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", dedent(CALLEE)],
                    cwd=ROOT,
                    env=os.environ | environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(2)
        ]
        for process in pair:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        end = time.monotonic() + PAIR_SECONDS
        for process in pair:
            assert process.stdin is not None
            process.stdin.write(f"{end}\n")
            process.stdin.flush()
        assert [process.wait(PAIR_SECONDS + 60) for process in pair] == [0, 0]
    assert len(counting.asked) == 1 + PAIR_SECONDS // 9
