"""The callers that a route admits."""

import pytest

from mstoken.callee.callers import Admission, ServiceCaller, UserCaller

ANNA = UserCaller("anna", None, "anna@example.com", "Anna", 1, 1)
ADMIN = UserCaller("root", "admin", None, None, 1, 1)
BILLING = ServiceCaller("billing", "svc:billing", "product", "fresh", "id", 1)
BILLING_FOR_ADMIN = ServiceCaller("billing", "svc:billing", "product", "fresh", "id", 1, user=ADMIN)


@pytest.mark.parametrize(
    ("admission", "admitted"),
    [
        (Admission.of(True, ()), {ANNA, ADMIN}),
        (Admission.of({"admin"}, ()), {ADMIN}),
        (Admission.of(False, {"billing"}), {BILLING, BILLING_FOR_ADMIN}),
        (Admission.of(True, {"billing"}), {ANNA, ADMIN, BILLING, BILLING_FOR_ADMIN}),
        (Admission.of({"admin"}, ["user"]), {ADMIN}),
    ],
)
def test_a_route_admits_users_by_role_and_services_by_name(
    admission: Admission, admitted: set[UserCaller | ServiceCaller]
) -> None:
    """A service that acts for a user is admitted as the service only."""
    assert {caller for caller in (ANNA, ADMIN, BILLING, BILLING_FOR_ADMIN) if admission.admits(caller)} == admitted


def test_a_route_that_admits_no_caller_is_an_error() -> None:
    """The error is raised when the route is made."""
    with pytest.raises(ValueError, match="refuse every caller"):
        Admission.of(False, ())
    with pytest.raises(ValueError, match="refuse every caller"):
        Admission.of(set(), ())


def test_proofs_without_services_are_an_error() -> None:
    """A route for users only cannot require proofs, which only services send."""
    with pytest.raises(ValueError, match="only services send proofs"):
        Admission.of(True, (), proof=True)
    assert Admission.of(True, {"billing"}, proof=True).proof


def test_a_string_in_place_of_a_set_is_an_error() -> None:
    """Otherwise 'billing' would admit seven services of one letter each."""
    with pytest.raises(ValueError, match="must be sets of names"):
        Admission.of(False, "billing")
    with pytest.raises(ValueError, match="must be sets of names"):
        Admission.of("admin", ())


def test_an_invalid_service_name_is_an_error() -> None:
    """A typing error in a name is found when the route is made, not at the first call."""
    with pytest.raises(ValueError, match="not a service name"):
        Admission.of(False, {"Billing"})


def test_claims_of_the_wrong_type_are_ignored() -> None:
    """A role that is a list counts as no role."""
    user = UserCaller.from_claims({"sub": "u", "iat": 1, "auth_time": 1, "role": ["admin"], "email": 7})
    assert (user.role, user.email, user.name) == (None, None, None)


def test_the_text_of_a_caller_is_its_name_in_logs() -> None:
    """The text shows whether the caller is a user or a service."""
    assert (str(ANNA), str(BILLING)) == ("user:anna", "svc:billing")
