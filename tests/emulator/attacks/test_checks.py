"""Which check gave an answer."""

import pytest

from emulator.attacks.checks import CHECKS, check_of
from emulator.attacks.wire import Answer
from mstoken import errors
from mstoken.errors import ServiceTokenRefused, UserTokenRefused


@pytest.mark.parametrize(
    ("code", "detail", "name"),
    [
        ("token_missing", "", "form"),
        ("token_untrusted", "", "signature"),
        ("token_untrusted", "The token was minted in the future, by the clock of this service.", "age and proof"),
        ("token_expired", "", "signature"),
        ("token_expired", "The token is 7200 s old. At most 3600 s are allowed.", "age and proof"),
        ("token_wrong_audience", "The token is for user, and this service is product.", "audience"),
        ("proof_invalid", "The request has a proof, but no service token.", "age and proof"),
        ("caller_not_allowed", "", "admission"),
        ("proof_replayed", "", "spend"),
        ("user_token_invalid", "The token is malformed.", "form"),
        ("user_token_invalid", "The token cannot be trusted.", "signature"),
        ("user_token_invalid", "The token has expired.", "signature"),
        ("user_token_invalid", "The token is that of a service, not of a user.", "service token"),
    ],
)
def test_the_code_and_its_detail_tell_the_check(code: str, detail: str, name: str) -> None:
    """Two checks can give some of the codes. The detail tells them apart."""
    check = check_of(Answer(401, code, detail))
    assert check is not None
    assert check.name == name


def test_the_http_server_refuses_a_malformed_request() -> None:
    """Its 400 has no code."""
    check = check_of(Answer(400, ""))
    assert check is not None
    assert check.name == "HTTP"


@pytest.mark.parametrize(
    "answer", [Answer(200, ""), Answer(404, "product_not_found"), Answer(503, "verifier_unavailable")]
)
def test_other_answers_come_from_no_check(answer: Answer) -> None:
    """An accepted call was not refused, and an outage decides nothing."""
    assert check_of(answer) is None


def test_every_refusal_of_a_token_comes_from_a_check() -> None:
    """A code that is added to the library needs its place in the order."""
    kinds = [
        *ServiceTokenRefused.__subclasses__(),
        *UserTokenRefused.__subclasses__(),
        *errors.ProofRefused.__subclasses__(),
    ]
    assert [kind.code for kind in kinds if check_of(Answer(401, kind.code)) is None] == []


def test_the_checks_are_numbered_in_their_order() -> None:
    """0 is the HTTP server, and 1 to 8 are those of docs/threat-model.md."""
    assert [check.number for check in CHECKS] == list(range(9))
