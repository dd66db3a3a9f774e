"""The timeline of a load."""

from emulator.lab.load import Sale
from emulator.lab.outages import Span
from emulator.lab.strip import HEIGHT, WIDTH, draw

NOW = 1000.2


def test_a_purchase_is_a_bar_at_its_time() -> None:
    """The right end is now. The slower the answer, the taller the bar."""
    strip = draw([Sale(956.0, 0.1, 201, ""), Sale(1000.0, 10.0, 503, "x")], [], NOW)
    first, second = strip.bars
    assert (first.x, first.is_good, first.title) == (WIDTH / 2, True, "bill issued, 100 ms")
    assert (second.is_good, second.height, second.y, second.title) == (False, HEIGHT, 0.0, "503 x, 10000 ms")
    assert first.height < second.height
    assert strip.summary == "Bills issued in the last 90 seconds: 1; failed purchases: 1"


def test_a_fault_is_a_band_from_its_beginning_to_its_end() -> None:
    """One that is on reaches to the right end, and one that is over long ago is not drawn."""
    spans = [Span("a", "A", 800.0, 810.0), Span("b", "B", 956.0, 965.0), Span("c", "C", 992.0, None)]
    over, on = draw([], spans, NOW).bands
    assert (over.x, over.width, over.title) == (WIDTH / 2, WIDTH / 10, "B")
    assert (on.x, on.width) == (WIDTH * 0.9, WIDTH * 0.1)


def test_old_purchases_are_not_drawn() -> None:
    """The strip shows 90 seconds."""
    assert draw([Sale(900.0, 0.1, 201, "")], [], NOW).bars == ()
