"""Which request each call was."""

from emulator.lab.answers import KEPT, Answers
from emulator.run.events import CallEvent, RequestEvent, of_kind
from tests.emulator.lab.logged_shop import LoggedShop


def test_a_request_belongs_to_the_call_with_its_id(shop: LoggedShop) -> None:
    """The record of a request follows that of its call, in the same log, with the same id."""
    shop.call(request_id="r1")
    shop.call(request_id="r2", process="user", at=0.05)
    shop.request(request_id="r2", process="user", at=0.1)
    shop.request(request_id="r1", at=0.2)
    events = shop.read()
    first, second = of_kind(events, CallEvent)
    answer_of_second, answer_of_first = of_kind(events, RequestEvent)
    answers = shop.lab.answers
    assert answers.request_of(first) == answer_of_first
    assert answers.request_of(second) == answer_of_second
    assert answers.call_of(answer_of_first) == first


def test_an_answer_may_be_read_later(shop: LoggedShop) -> None:
    """A call without an answer is remembered until its request is read."""
    shop.call()
    [call] = of_kind(shop.read(), CallEvent)
    assert shop.lab.answers.request_of(call) is None
    shop.request()
    shop.read()
    assert shop.lab.answers.request_of(call) is not None


def test_calls_of_one_request_id_are_answered_in_turn(shop: LoggedShop) -> None:
    """One request of a customer leads to several calls with its id. The first of them belongs to the first answer."""
    for number in range(3):
        shop.call(at=number, one_time_id=str(number))
        shop.request(at=number + 0.5, path=f"/{number}")
    calls = of_kind(shop.read(), CallEvent)
    requests = [shop.lab.answers.request_of(call) for call in calls]
    assert [request.path for request in requests if request is not None] == ["/0", "/1", "/2"]


def test_a_request_without_a_call(shop: LoggedShop) -> None:
    """A log-in has no verified call, and so has a request without an id."""
    shop.request(path="/login", process="user")
    shop.request(request_id=None)
    shop.call(request_id=None)
    requests = of_kind(shop.read(), RequestEvent)
    assert [shop.lab.answers.call_of(request) for request in requests] == [None, None]


def test_memory_is_bounded() -> None:
    """However many calls there are, with or without answers, only the newest are remembered."""
    answers = Answers()
    calls = [call(number, f"r{number}") for number in range(KEPT + 100)]
    answers.observe(calls)
    answers.observe(request(number, f"r{number}") for number in range(KEPT + 100))
    assert answers.request_of(calls[0]) is None
    assert answers.request_of(calls[-1]) is not None
    assert answers.size() <= 2 * KEPT
    answers.observe(call(number, "the same") for number in range(2 * KEPT))
    assert answers.size() <= 3 * KEPT


def call(number: int, request_id: str) -> CallEvent:
    rest = (None, "product", "fresh", 0.5, "an-id", "0a1b2c3d", "accepted", None, request_id, 1.0)
    return CallEvent(number, 0.0, "product", "svc:billing", *rest)


def request(number: int, request_id: str) -> RequestEvent:
    return RequestEvent(number, 0.0, "product", "GET", "/", 200, 1.0, request_id)
