"""Whom a route lets in."""

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
def test_admission(admission: Admission, admitted: set[UserCaller | ServiceCaller]) -> None:
    """Users by role, services by name; a service that acts for a user comes in as the service only."""
    assert {caller for caller in (ANNA, ADMIN, BILLING, BILLING_FOR_ADMIN) if admission.admits(caller)} == admitted


def test_a_route_for_nobody_is_a_mistake() -> None:
    """It is said when the route is made."""
    with pytest.raises(ValueError, match="nobody"):
        Admission.of(False, ())
    with pytest.raises(ValueError, match="nobody"):
        Admission.of(set(), ())


def test_proofs_of_nobody_are_a_mistake() -> None:
    """A route for users cannot insist on what only services have."""
    with pytest.raises(ValueError, match="users have none"):
        Admission.of(True, (), proof=True)
    assert Admission.of(True, {"billing"}, proof=True).proof


def test_a_string_is_not_a_set_of_names() -> None:
    """'billing' would otherwise allow seven services of one letter each."""
    with pytest.raises(ValueError, match="a set of names"):
        Admission.of(False, "billing")
    with pytest.raises(ValueError, match="a set of names"):
        Admission.of("admin", ())


def test_a_service_that_cannot_be_is_a_mistake() -> None:
    """A slip of the pen in a name does not wait for the first call."""
    with pytest.raises(ValueError, match="no service name"):
        Admission.of(False, {"Billing"})


def test_claims_of_the_wrong_type_do_not_count() -> None:
    """A role that is a list is no role."""
    user = UserCaller.from_claims({"sub": "u", "iat": 1, "auth_time": 1, "role": ["admin"], "email": 7})
    assert (user.role, user.email, user.name) == (None, None, None)


def test_callers_have_names_for_logs() -> None:
    """One can tell a user from a service."""
    assert (str(ANNA), str(BILLING)) == ("user:anna", "svc:billing")
