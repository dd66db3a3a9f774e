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


def test_acting_for_a_user_without_services_is_an_error() -> None:
    """Only services act for users."""
    with pytest.raises(ValueError, match="only services act for a user"):
        Admission.of(True, (), acting_for_user=True)
    assert Admission.of(True, {"billing"}, acting_for_user=True).acting_for_user


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (Admission.of(True, {"billing"}), Admission.of({"admin"}, {"billing", "user"}), ({"admin"}, {"billing"})),
        (Admission.of(True, ()), Admission.of(True, {"billing"}), (True, set())),
        (Admission.of({"admin"}, ()), Admission.of(False, {"billing"}), (False, set())),
        (Admission.of({"admin", "clerk"}, ()), Admission.of({"clerk"}, ()), ({"clerk"}, set())),
    ],
)
def test_two_admissions_together_admit_those_that_both_admit(one: Admission, other: Admission, both: object) -> None:
    """The order does not matter."""
    for together in one & other, other & one:
        assert both == (together.users, together.services)


def test_two_admissions_together_ask_for_what_either_asks() -> None:
    """A proof is needed if one of them needs it, and the user's token is looked at if one of them looks at it."""
    plain = Admission.of(False, {"billing"})
    together = (
        plain & Admission.of(False, {"billing"}, proof=True) & Admission.of(False, {"billing"}, acting_for_user=True)
    )
    assert together == Admission.of(False, {"billing"}, proof=True, acting_for_user=True)


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


@pytest.mark.parametrize("claim", [True, False, "true", 1, None])
def test_an_address_is_verified_only_if_firebase_says_so(claim: object) -> None:
    """Anyone can sign up with an address that belongs to somebody else. A user without the claim is not verified."""
    claims = {"sub": "u", "iat": 1, "auth_time": 1, "email": "anna@example.com"}
    assert UserCaller.from_claims(claims | {"email_verified": claim}).email_verified is (claim is True)
    assert UserCaller.from_claims(claims).email_verified is False


def test_the_text_of_a_caller_is_its_name_in_logs() -> None:
    """The text shows whether the caller is a user or a service."""
    assert (str(ANNA), str(BILLING)) == ("user:anna", "svc:billing")
