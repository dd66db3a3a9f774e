"""A clock for tests, which stands still until it is moved."""


class FakeClock:
    """Gives seconds since the epoch, or any other seconds."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
