"""A model of a fleet: what sign-ins, look-ups, Redis and an outage of Firebase mean for thousands of processes.

    python -m bench.fleet            simulate the fleets of docs/choosing-a-mode.md: prints its tables, draws its charts
    python -m bench.fleet measure    measure the parameters on this machine

It is a discrete-event simulation (SimPy) of the rules that the library follows: their periods and limits are the
library's own constants. Each bound token is an event loop of its own. Calls are counted by the second, and processes
that only look up identities by groups, because there are too many of them to simulate one by one.
"""

import asyncio
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import simpy

from bench import calling
from bench.calling import MINUTE_SECONDS, OPERATIONS_A_DAY, SIGN_INS_A_MINUTE
from mstoken.backoff import Backoff
from mstoken.callee.replay.redis import RedisReplayStore
from mstoken.callee.status import LARGEST_LOOK_UP, OUTAGE_SECONDS, REFRESH_SECONDS, SPREAD_SECONDS
from mstoken.caller import bound
from mstoken.caller.fresh import MAX_SIGN_INS, RECENT_CALLS, FreshTokens
from mstoken.wire import ID_TOKEN_LIFETIME_SECONDS, Mode

DAY_SECONDS = 86_400

# Parameters that `python -m bench.fleet measure` has measured with one process of the real code.
SIGN_INS_A_CALL = 1.007
"""Fresh mode, at a steady 50 calls a second: a few tokens grow too old for a call."""
SPEND_SECONDS = 10e-6
"""The time of Redis for one spent id, on a quiet machine; 21e-6 on a busy one."""
START_SECONDS = 1.0
"""From the start of a process of Billing until its code is loaded, on a machine with two processors."""
# A parameter that cannot be measured here, because Google cannot be reached.
SIGN_IN_SECONDS = calling.FIREBASE_SECONDS
"""A sign-in at Firebase with a custom token of the token service."""

FRESH_SECONDS = 20.0
"""For how long `measure` observes calls in fresh mode."""
LOOK_UP_GROUPS = 20
"""Processes that look up by themselves are simulated in so many groups, which begin at different times."""

Events = Generator[simpy.Event, Any, None]


@dataclass(frozen=True)
class Fleet:
    """A fleet: processes that call and that are called, all day, at a steady rate.

    Each of the `callers` calls `services` others. The `callees` are called by `identities` service identities. With
    `shared_status`, the callees share what they look up through Redis.
    """

    calls_per_second: float
    callers: int
    services: int
    callees: int
    identities: int = 3
    mode: Mode = "proof"
    shared_status: bool = True

    @property
    def tokens(self) -> int:
        """The number of bound tokens: one for each process and service that it calls."""
        return self.callers * self.services


@dataclass(frozen=True)
class Story:
    """What happens: everything starts within `start_over_seconds`; then a deployment, an outage of Firebase, of Redis.

    Times are in seconds. A time of None means that it does not happen.
    """

    seconds: float = DAY_SECONDS
    start_over_seconds: float = 600.0
    deploy_at: float | None = None
    deploy_over_seconds: float = 300.0
    outage_at: float | None = None
    outage_seconds: float = 3600.0
    redis_away_at: float | None = None
    redis_away_seconds: float = 3600.0
    cold_starts_an_hour: float = 0.0
    """How often a platform starts a process for a call that has to wait for it."""
    limited: bool = True
    """Whether Firebase's limits count. Without them, the result is what a fleet asks for."""


class Result:
    """What the simulation counted, in total and by the minute."""

    def __init__(self, seconds: float, minutes: int) -> None:
        self.seconds = seconds
        self.sign_ins, self.look_ups, self.redis = [0.0] * minutes, [0.0] * minutes, [0.0] * minutes
        self.calls, self.waited, self.failed = [0.0] * minutes, [0.0] * minutes, [0.0] * minutes
        self.sign_ins_by_second: dict[int, float] = {}
        self.refused = 0.0
        """Sign-ins and look-ups that Firebase refused, because a limit was reached."""

    def answered(self, minute: int) -> float:
        """Return the part of the calls of a minute that did not fail."""
        return 1 - self.failed[minute] / self.calls[minute]


class Firebase:
    """Firebase's limits, and whether it answers."""

    def __init__(self, environment: simpy.Environment, *, limited: bool) -> None:
        self._environment = environment
        self._limited = limited
        self.is_up = True
        self.refused = 0.0
        self._minute, self._in_minute = 0, 0.0
        self._day, self._in_day = 0, 0.0

    def sign_in(self, number: float) -> float:
        """Return how many of so many sign-ins succeed now."""
        self._turn()
        allowed = max(0.0, min(number, SIGN_INS_A_MINUTE - self._in_minute, OPERATIONS_A_DAY - self._in_day))
        allowed = allowed if self._limited else number
        return self._granted(number, allowed if self.is_up else 0.0, sign_in=True)

    def look_up(self, number: float) -> float:
        """Return how many of so many look-ups succeed now."""
        self._turn()
        allowed = max(0.0, min(number, OPERATIONS_A_DAY - self._in_day)) if self._limited else number
        return self._granted(number, allowed if self.is_up else 0.0, sign_in=False)

    def _granted(self, number: float, granted: float, *, sign_in: bool) -> float:
        if self.is_up:
            self.refused += number - granted
        self._in_day += granted
        self._in_minute += granted if sign_in else 0.0
        return granted

    def _turn(self) -> None:
        minute, day = int(self._environment.now // MINUTE_SECONDS), int(self._environment.now // DAY_SECONDS)
        if minute != self._minute:
            self._minute, self._in_minute = minute, 0.0
        if day != self._day:
            self._day, self._in_day = day, 0.0


class Simulation:
    """One run of a fleet through a story. `run` returns what it counted."""

    def __init__(self, fleet: Fleet, story: Story, *, seed: int = 1) -> None:
        self.fleet, self.story = fleet, story
        self._random = random.Random(seed)  # noqa: S311 - a simulation that can be repeated
        self._environment = simpy.Environment()
        self._firebase = Firebase(self._environment, limited=story.limited)
        self._redis_is_up = True
        minutes = int(story.seconds // MINUTE_SECONDS) + 1
        self._counted = Result(story.seconds, minutes)
        self._running = 0
        """The number of callers that have started."""
        self._without_token = 0
        """The number of bound tokens that are missing or have expired, of processes that run."""
        self._last_look_up = 0.0
        """When a look-up last succeeded: callees use a status for 15 minutes after that."""
        self._stock, self._target = 0.0, stock_for(fleet.calls_per_second / fleet.callers) * fleet.callers
        self._tokens: list[list[simpy.Process]] = []
        self._requests = -(-fleet.identities // LARGEST_LOOK_UP)
        """The number of requests that look up all identities."""

    def run(self) -> Result:
        """Run the story to its end."""
        start = self._environment.process
        for number in range(self.fleet.callers):
            begins = self.story.start_over_seconds * number / self.fleet.callers
            start(self._caller(begins))
        if self.fleet.shared_status:
            start(self._shared_look_ups())
        size = self.fleet.callees / LOOK_UP_GROUPS
        for number in range(LOOK_UP_GROUPS):
            start(self._group(size, REFRESH_SECONDS * number / LOOK_UP_GROUPS))
        start(self._calls())
        if self.story.cold_starts_an_hour > 0:
            start(self._cold_starts())
        if self.story.deploy_at is not None:
            start(self._deployment(self.story.deploy_at))
        if self.story.outage_at is not None:
            start(self._outage(self.story.outage_at))
        if self.story.redis_away_at is not None:
            start(self._redis_outage(self.story.redis_away_at))
        self._environment.run(self.story.seconds)
        self._counted.refused = self._firebase.refused
        return self._counted

    def _count(self, counted: list[float], number: float) -> None:
        counted[int(self._environment.now // MINUTE_SECONDS)] += number

    def _caller(self, begins: float) -> Events:
        """A process that calls: in proof mode it has a token for each service, as soon as it calls it."""
        yield self._environment.timeout(begins)
        self._running += 1
        if self.fleet.mode == "proof":
            self._tokens.append([self._environment.process(self._token()) for _ in range(self.fleet.services)])

    def _token(self) -> Events:
        """A bound token: signed in for at the first call, and renewed until its process ends (`BoundToken`)."""
        backoff = Backoff(bound.FIRST_PAUSE_SECONDS, bound.LONGEST_PAUSE_SECONDS, self._random.random)
        expires_at, failures = 0.0, 0
        self._without_token += 1
        has_token = False
        while True:
            try:
                if self._sign_in_for_a_token():
                    if not has_token:
                        self._without_token -= 1
                        # The calls that come before the answer wait for it.
                        rate = self.fleet.calls_per_second / self.fleet.tokens
                        self._count(self._counted.waited, max(1.0, rate * SIGN_IN_SECONDS) if failures == 0 else 0.0)
                    has_token, failures = True, 0
                    expires_at = self._environment.now + ID_TOKEN_LIFETIME_SECONDS
                    pause = bound.RENEWAL_AGE_SECONDS + self._random.random() * bound.RENEWAL_SPREAD_SECONDS
                else:
                    failures += 1
                    pause = backoff.delay_seconds(failures)
                    if has_token and expires_at <= self._environment.now + pause:
                        yield self._environment.timeout(max(0.0, expires_at - self._environment.now))
                        self._without_token += 1
                        has_token = False
                yield self._environment.timeout(pause)
            except simpy.Interrupt:  # A new process takes this one's place: it has another key, and so no token.
                self._without_token += has_token
                has_token, failures = False, 0

    def _sign_in_for_a_token(self) -> bool:
        succeeded = self._firebase.sign_in(1) >= 1
        self._count_sign_ins(float(succeeded))
        return succeeded

    def _count_sign_ins(self, number: float) -> None:
        self._count(self._counted.sign_ins, number)
        second = int(self._environment.now)
        self._counted.sign_ins_by_second[second] = self._counted.sign_ins_by_second.get(second, 0.0) + number

    def _shared_look_ups(self) -> Events:
        """Status that is shared: the first process whose entries are too old looks all of them up, for all others.

        Each process waits a random time longer, so that they do not all ask at once. The first of many waits for a
        short one.
        """
        pause = REFRESH_SECONDS + SPREAD_SECONDS / (self.fleet.callees + 1)
        while True:
            if self._redis_is_up:
                self._look_up(self._requests)
                self._count(self._counted.redis, self._requests)  # `tell`
            yield self._environment.timeout(pause)

    def _group(self, processes: float, begins: float) -> Events:
        """Callee processes that refresh the status of all identities together (`StatusCache`)."""
        yield self._environment.timeout(begins)
        while True:
            if self.fleet.shared_status and self._redis_is_up:
                self._count(self._counted.redis, processes)  # `ask`
            else:
                self._look_up(processes * self._requests)
            yield self._environment.timeout(REFRESH_SECONDS)

    def _look_up(self, number: float) -> None:
        granted = self._firebase.look_up(number)
        self._count(self._counted.look_ups, granted)
        if granted > 0:
            self._last_look_up = self._environment.now

    def _calls(self) -> Events:
        """Count the calls of each second: those that wait for a token, and those that fail."""
        while True:
            calls = self.fleet.calls_per_second * self._running / self.fleet.callers
            status_counts = self._environment.now - self._last_look_up < OUTAGE_SECONDS
            served = self._served_fresh(calls) if self.fleet.mode == "fresh" else self._served_with_proofs(calls)
            self._count(self._counted.calls, calls)
            self._count(self._counted.failed, calls - served if status_counts else calls)
            self._count(self._counted.redis, served if self._redis_is_up and status_counts else 0.0)  # spent ids
            yield self._environment.timeout(1)

    def _served_fresh(self, calls: float) -> float:
        """Return how many calls get a fresh token: from stock, or by waiting for a sign-in (`FreshTokens`)."""
        wanted = calls * SIGN_INS_A_CALL + max(0.0, self._target - self._stock)
        most = self.fleet.callers * MAX_SIGN_INS / SIGN_IN_SECONDS
        granted = self._firebase.sign_in(min(wanted, most))
        self._count_sign_ins(granted)
        from_stock = min(calls, self._stock)
        by_waiting = min(calls - from_stock, granted)
        self._count(self._counted.waited, by_waiting)
        self._stock = min(self._target, self._stock - from_stock + granted - by_waiting)
        return from_stock + by_waiting

    def _served_with_proofs(self, calls: float) -> float:
        tokens = self._running * self.fleet.services
        return calls * (1 - self._without_token / tokens) if tokens else 0.0

    def _cold_starts(self) -> Events:
        """Processes of a platform that starts one when a call needs it: the calls that come meanwhile wait."""
        rate = self.fleet.calls_per_second / self.fleet.callers
        while True:
            yield self._environment.timeout(self._random.expovariate(self.story.cold_starts_an_hour / 3600))
            if self._tokens:
                for token in self._random.choice(self._tokens):
                    token.interrupt()
            self._count(self._counted.waited, max(1.0, rate * START_SECONDS))

    def _deployment(self, at: float) -> Events:
        """Replace all processes, one after the other. A new one gets calls when it is ready, so none fails for that."""
        yield self._environment.timeout(at)
        pause = self.story.deploy_over_seconds / max(1, self.fleet.callers)
        if not self.fleet.shared_status:
            self._look_up(self.fleet.callees)  # At its first call a new callee knows no status.
        self._stock = 0.0
        for tokens in list(self._tokens):
            for token in tokens:
                token.interrupt()
            yield self._environment.timeout(pause)

    def _outage(self, at: float) -> Events:
        yield self._environment.timeout(at)
        self._firebase.is_up = False
        yield self._environment.timeout(self.story.outage_seconds)
        self._firebase.is_up = True

    def _redis_outage(self, at: float) -> Events:
        yield self._environment.timeout(at)
        self._redis_is_up = False
        yield self._environment.timeout(self.story.redis_away_seconds)
        self._redis_is_up = True


def simulate(fleet: Fleet, story: Story | None = None, *, seed: int = 1) -> Result:
    """Return what happens to a fleet. Without a story it is an ordinary day."""
    return Simulation(fleet, story or Story(), seed=seed).run()


def stock_for(calls_per_second: float) -> int:
    """Return how many fresh tokens a process keeps at this rate, as the library's own code says."""
    now = 0.0
    tokens = FreshTokens(lambda: now)
    for _ in range(RECENT_CALLS):
        tokens.take()
        now += 1 / max(calls_per_second, 1e-9)
    while number := tokens.start_sign_ins():
        for _ in range(number):
            tokens.put("token", signed_in_at=now, took_seconds=SIGN_IN_SECONDS)
    return tokens.in_stock()


def measure() -> dict[str, float]:
    """Measure the parameters with one process of the real code, and return them by their names."""
    observed = calling.observe(calling.FRESH, [50.0], FRESH_SECONDS)[50.0]
    found = {"SIGN_INS_A_CALL": observed.sign_ins / observed.calls}
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import services.billing.app"], check=True)
    found["START_SECONDS"] = time.perf_counter() - began
    if server := shutil.which("redis-server"):
        with tempfile.TemporaryDirectory() as folder:
            socket = Path(folder, "redis.sock")
            command = [server, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", folder]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - found above
            try:
                while not socket.exists():
                    time.sleep(0.05)
                found["SPEND_SECONDS"] = asyncio.run(_redis_seconds(f"unix://{socket}"))
            finally:
                process.terminate()
                process.wait()
    return found


async def _redis_seconds(url: str, spends: int = 5_000) -> float:
    """Return the processor time of Redis for one spent id, in seconds (INFO, commandstats)."""
    store = RedisReplayStore(url, clock_skew_seconds=0)
    until = time.time() + 60
    for number in range(spends):
        await store.spend(f"bench.{number}", issued_at=until, expires_at=until)
    await store.aclose()
    from redis.asyncio import Redis

    client = Redis.from_url(url)
    stats = await client.info("commandstats")
    await client.aclose()
    return sum(float(command["usec"]) for name, command in stats.items() if "eval" in name) / spends / 1e6


def main(arguments: list[str]) -> int:
    """Run the command. Return the exit status."""
    match arguments:
        case ["measure"]:
            for name, value in measure().items():
                sys.stdout.write(f"{name} = {value:.6g}\n")
        case []:
            from bench import fleet_report

            fleet_report.write()
        case _:
            sys.stderr.write("Usage: python -m bench.fleet [measure]\n")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
