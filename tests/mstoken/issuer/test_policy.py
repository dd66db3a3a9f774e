"""The policy file: what it says, and every error that is found in it."""

import copy
import datetime
import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from mstoken.errors import PolicyError
from mstoken.issuer.policy import Policy, ServicePolicy
from tests.mstoken.issuer.policies import OTHER_P256, P256, error_of, errors_of, inline, with_keys

SHOP = Path(__file__).parents[3] / "functions/policy.toml"

TWO_SERVICES = """\
[services.billing]
service_accounts = ["billing@demo-shop.iam.gserviceaccount.com"]
calls = ["product"]

[services.product]
"""


# What a policy says


def test_the_policy_of_the_shop() -> None:
    """The file that is deployed has the four services of the shop, and exactly the calls that they make."""
    policy = Policy.load(SHOP)
    allowed = {(one, other) for one in policy.services for other in policy.services if policy.allows(one, other)}
    assert policy.services.keys() == {"user", "product", "billing", "delivery"}
    assert allowed == {
        ("billing", "product"),
        ("billing", "user"),
        ("billing", "delivery"),
        ("delivery", "billing"),
    }


@pytest.mark.parametrize("service", ["user", "product", "billing", "delivery"])
def test_the_accounts_of_the_shop_are_those_of_the_metadata_emulator(service: str) -> None:
    """Each service has the account that the metadata emulator gives it."""
    policy = Policy.load(SHOP)
    assert policy.service_of_account(f"{service}@demo-shop.iam.gserviceaccount.com") == service


@pytest.mark.parametrize(
    "email",
    [
        "warehouse@demo-shop.iam.gserviceaccount.com",
        "billing@other-shop.iam.gserviceaccount.com",
        "Billing@demo-shop.iam.gserviceaccount.com",
        "billing",
        "",
    ],
)
def test_an_unknown_account_belongs_to_no_service(email: str) -> None:
    """An account must be equal to one in the file, letter by letter."""
    assert Policy.load(SHOP).service_of_account(email) is None


def test_an_unknown_service_has_no_keys_and_no_calls() -> None:
    """A service that is not in the file has no keys, may call no service, and no service may call it."""
    policy = Policy.load(SHOP)
    assert not policy.keys_of("warehouse")
    assert not policy.allows("warehouse", "product")
    assert not policy.allows("billing", "warehouse")


def test_fields_that_are_left_out_are_empty() -> None:
    """A service with only a name has no account, no key and no calls."""
    assert Policy.parse("[services.product]", "policy.toml").services == {"product": ServicePolicy()}


def test_a_service_may_have_several_accounts() -> None:
    """Accounts of a laptop and of production can be listed together, whatever kind of service account they are."""
    accounts = [
        "billing@demo-shop.iam.gserviceaccount.com",
        "billing@shop.example.com.iam.gserviceaccount.com",
        "123456789012-compute@developer.gserviceaccount.com",
        "shop@appspot.gserviceaccount.com",
    ]
    policy = Policy.parse(f"[services.billing]\nservice_accounts = {accounts}", "policy.toml")
    assert {policy.service_of_account(account) for account in accounts} == {"billing"}


def test_the_dates_of_a_key() -> None:
    """`added` and `expires` are dates, and may be left out."""
    dated, undated = Policy.parse(
        f"""
        [[services.warehouse.keys]]
        added = 2026-11-24
        expires = 2027-11-24
        jwk = {inline(P256)}
        [[services.warehouse.keys]]
        jwk = {inline(OTHER_P256)}
        """,
        "policy.toml",
    ).keys_of("warehouse")
    assert (dated.added, undated.added) == (datetime.date(2026, 11, 24), None)
    assert (dated.expires, undated.expires) == (datetime.date(2027, 11, 24), None)


def test_whether_any_service_has_a_key() -> None:
    """A policy knows if assertions of registered keys can come at all."""
    assert not Policy.parse("[services.product]", "policy.toml").has_keys
    key = f"[[services.warehouse.keys]]\njwk = {inline(P256)}"
    assert Policy.parse(f"[services.product]\n{key}", "policy.toml").has_keys


# Files that are wrong


def test_an_error_has_the_file_and_the_place() -> None:
    """The text of the exception says what to correct and where."""
    text = TWO_SERVICES.replace('["product"]', '["prodcut"]')
    with pytest.raises(PolicyError) as caught:
        Policy.parse(text, "policy.toml")
    sentence = "unknown service 'prodcut' (did you mean 'product'?)"
    assert str(caught.value) == f"policy.toml: services.billing.calls[0]: {sentence}"
    assert (caught.value.file, caught.value.errors) == ("policy.toml", (("services.billing.calls[0]", sentence),))


def test_all_errors_are_reported_at_once() -> None:
    """Each error has a line of its own, whether one table is enough to see it or several are needed."""
    text = """\
[services.Billing]
service_accounts = ["someone@example.com"]
calls = ["prodcut", "delivery"]

[services.product]
service_accounts = 5
colour = "green"

[services.delivery]
calls = ["product"]
"""
    places = [line.partition(": ")[0] for line in errors_of(text)]
    assert sorted(places) == [
        "services.Billing",
        "services.Billing.calls[0]",
        "services.Billing.service_accounts[0]",
        "services.delivery",
        "services.product.colour",
        "services.product.service_accounts",
    ]


def test_the_exception_can_be_copied_and_sent_to_another_process() -> None:
    """The copy has the same text and the same facts."""
    error = PolicyError("policy.toml", [("services.a", "one"), (None, "two")])
    for again in copy.copy(error), pickle.loads(pickle.dumps(error)):
        assert str(again) == "policy.toml: services.a: one\npolicy.toml: two"
        assert (again.file, again.errors) == ("policy.toml", (("services.a", "one"), (None, "two")))


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("[services.user]\ncalls\n", "(at line 2,"),
        ("[services.user]\n\n[services.user]\n", "(at line 3,"),
        ("[services.user]\ncalls = []\ncalls = []\n", "(at line 3,"),
        ("[services.user]\ncalls = [\n  'product',\n", "(at end of document)"),
        ("[services.user]\r\ncalls = [\r\n  product]\r\n", "(at line 3,"),
        ("services = {}\n[services.user]\ncalls = []\n", "(at line 2,"),
        ("[services.user]\nadded = 2026-02-30\n", "(at line 2,"),
    ],
)
def test_a_syntax_error_has_the_position(text: str, position: str) -> None:
    """The message of the TOML parser contains the line."""
    error = error_of(text)
    assert error.startswith("not valid TOML: ")
    assert position in error


def test_a_number_of_thousands_of_digits_is_an_error() -> None:
    """The limit of Python for numbers is reported as an error of the file."""
    assert error_of("a = " + "9" * 5000).startswith("not valid TOML: ")


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "[" * 5000 + "]" * 5000])
def test_a_file_that_nests_too_deeply_is_an_error(text: str) -> None:
    """It does not end the process."""
    assert error_of(text) == "nested too deeply"


def test_a_file_that_does_not_exist(tmp_path: Path) -> None:
    """The error names the file as it was given."""
    path = tmp_path / "policy.toml"
    with pytest.raises(PolicyError) as caught:
        Policy.load(path)
    assert str(caught.value) == f"{path}: cannot read the file: No such file or directory"
    assert (caught.value.file, caught.value.errors[0][0]) == (str(path), None)


def test_a_directory_cannot_be_read(tmp_path: Path) -> None:
    """Anything that cannot be read as a file is reported in the same way."""
    with pytest.raises(PolicyError, match="cannot read the file: Is a directory"):
        Policy.load(tmp_path)


def test_a_file_that_is_not_utf_8(tmp_path: Path) -> None:
    """TOML must be UTF-8. The error has the first line that is not."""
    path = tmp_path / "policy.toml"
    path.write_bytes("# für\n# für\n".encode() + "# für\n# für\n".encode("latin-1"))
    with pytest.raises(PolicyError) as caught:
        Policy.load(path)
    assert str(caught.value) == f"{path}: not UTF-8 (at line 3)"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "services: required, but missing"),
        ("# nothing yet\n", "services: required, but missing"),
        ("[services]\n", "services: there are no services, so no service could get a token"),
        ("services = []\n", "services: must be a table"),
    ],
)
def test_a_policy_without_services(text: str, error: str) -> None:
    """An empty policy is a mistake."""
    assert error_of(text) == error


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("colour = 1\n[services.user]\n", "colour: unknown name; known names are services"),
        (
            "[services.user]\ncall = ['product']\n",
            "services.user.call: unknown name; known names are calls, keys, service_accounts",
        ),
        (
            f"[[services.user.keys]]\njwk = {inline(P256)}\nday = 1\n",
            "services.user.keys[0].day: unknown name; known names are added, expires, jwk",
        ),
        (
            with_keys(P256 | {"colour": 1}),
            "services.warehouse.keys[0].jwk.colour: unknown name; known names are alg, crv, kid, kty, use, x, y",
        ),
    ],
)
def test_unknown_names_are_errors(text: str, error: str) -> None:
    """An unknown name is not ignored, because it may be a typing error for a known one."""
    assert error_of(text) == error


@pytest.mark.parametrize("name", ["Billing", "bill ing", "-billing", "1st", "a.b", "", "ä", "a" * 64])
def test_names_that_no_service_can_have(name: str) -> None:
    """The names of services in the policy follow the same rules as those in tokens."""
    error = error_of(f"[services.{json.dumps(name, ensure_ascii=False)}]\n")
    place = name if re.fullmatch(r"[\w-]+", name, re.ASCII) else f"'{name}'"
    assert error.startswith(f"services.{place}: {name!r} is not a service name")


@pytest.mark.parametrize(
    "account",
    [
        "someone@example.com",
        "group:admins@example.com",
        "serviceAccount:billing@demo-shop.iam.gserviceaccount.com",
        "billing@gserviceaccount.com",
        "billing@demo-shop.iam.gserviceaccount.com.example.com",
        "billing@demo-shop.iam.gserviceaccount.com\n",
        "someone@example.com billing@demo-shop.iam.gserviceaccount.com",
        "billing@someone@demo-shop.iam.gserviceaccount.com",
        "Billing@demo-shop.iam.gserviceaccount.com",
        "bIlling@demo-shop.iam.gserviceaccount.com",
        "billing@demo-shop.iam.gserviceaccountXcom",
        "@demo-shop.iam.gserviceaccount.com",
        "*@demo-shop.iam.gserviceaccount.com",
        "allUsers",
        "",
    ],
)
def test_only_service_accounts_are_accepted(account: str) -> None:
    """People and groups cannot be a service, and an account must be spelled as Google spells it."""
    error = error_of(f"[services.billing]\nservice_accounts = {inline([account])}\n")
    assert error.startswith(f"services.billing.service_accounts[0]: {account!r} is not a service account")


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("service_accounts = 'a@b.iam.gserviceaccount.com'", "service_accounts: must be a list"),
        ("service_accounts = [1]", "service_accounts[0]: must be a string"),
        ("calls = 'product'", "calls: must be a list"),
        ("calls = { product = true }", "calls: must be a list"),
        ("calls = [['product']]", "calls[0]: must be a string"),
        ("keys = ['a key']", "keys[0]: must be a table"),
        ("keys = [{}]", "keys[0].jwk: required, but missing"),
        ("keys = [{ jwk = 'a key' }]", "keys[0].jwk: must be a table"),
        ("keys = [{ jwk = {} }]", "keys[0].jwk.kty: required, but missing"),
        (f"keys = [{{ added = 5, jwk = {inline(P256)} }}]", "keys[0].added: must be a date, such as 2026-11-24"),
        (
            f"keys = [{{ added = '2026-11-24', jwk = {inline(P256)} }}]",
            "keys[0].added: must be a date, such as 2026-11-24",
        ),
        (
            f"keys = [{{ added = 2026-11-24T00:00:00, jwk = {inline(P256)} }}]",
            "keys[0].added: must be a date, such as 2026-11-24",
        ),
        (
            f"keys = [{{ expires = '2026-11-24', jwk = {inline(P256)} }}]",
            "keys[0].expires: must be a date, such as 2026-11-24",
        ),
        (
            f"keys = [{{ expires = 2026-11-24T00:00:00Z, jwk = {inline(P256)} }}]",
            "keys[0].expires: must be a date, such as 2026-11-24",
        ),
    ],
)
def test_values_of_a_wrong_type_are_errors(line: str, error: str) -> None:
    """The error says which type is expected, in terms of TOML."""
    accounts = "" if line.startswith(("service_accounts", "keys")) else "service_accounts = ['a@b.gserviceaccount.com']"
    assert f"services.user.{error}" in errors_of(f"[services.user]\n{accounts}\n{line}\n[services.product]\n")


def test_a_service_that_is_not_a_table() -> None:
    """The errors of the other services are reported nonetheless."""
    errors = errors_of("[services]\nuser = true\nproduct = { calls = ['billing', 'user'] }\n")
    assert errors[0] == "services.user: must be a table"
    assert errors[-1] == "services.product.calls[0]: unknown service 'billing'"


def test_an_account_belongs_to_one_service() -> None:
    """With the same account, two services could not be told apart."""
    account = "billing@demo-shop.iam.gserviceaccount.com"
    other = "other@demo-shop.iam.gserviceaccount.com"
    text = (
        f"[services.billing]\nservice_accounts = ['{account}']\n"
        f"[services.product]\nservice_accounts = ['{other}', '{account}']\n"
    )
    error = f"services.product.service_accounts[1]: '{account}' already belongs to the service 'billing'"
    assert error_of(text) == error


def test_an_account_is_listed_once() -> None:
    """To list it twice for the same service is a mistake."""
    account = "billing@demo-shop.iam.gserviceaccount.com"
    text = f"[services.billing]\nservice_accounts = ['{account}', '{account}']"
    assert error_of(text) == f"services.billing.service_accounts[1]: '{account}' is listed twice"


def test_a_key_belongs_to_one_service_and_is_listed_once() -> None:
    """It is the same key whatever its name is, and in whatever order its members are."""
    again = dict(reversed((P256 | {"kid": "another name"}).items()))
    assert error_of(with_keys(P256, OTHER_P256, again)) == "services.warehouse.keys[2]: this key is listed twice"
    text = with_keys(P256) + with_keys(again).replace("warehouse", "courier")
    assert error_of(text) == "services.courier.keys[0]: this key already belongs to the service 'warehouse'"


def test_a_service_that_calls_itself_is_an_error() -> None:
    """It needs no token for that."""
    text = "[services.user]\nservice_accounts = ['a@b.gserviceaccount.com']\ncalls = ['user']\n"
    assert error_of(text) == "services.user.calls[0]: a service needs no token to call itself"


def test_a_call_to_an_unknown_service_is_an_error() -> None:
    """The place has the index in the list. A name that is similar to no service gets no suggestion."""
    text = TWO_SERVICES.replace('["product"]', '[\n  "product", # prices\n  # "user",\n  "warehouse",\n]')
    assert error_of(text) == "services.billing.calls[1]: unknown service 'warehouse'"


def test_a_service_that_calls_others_must_be_able_to_prove_its_identity() -> None:
    """Without an account and without a key, the token service would always refuse it."""
    text = "[services.product]\n\n[services.billing]\n\ncalls = ['product']\n"
    assert error_of(text).startswith("services.billing: a service that calls others needs service_accounts or keys")
    for proof in "service_accounts = ['a@b.gserviceaccount.com']", f"keys = [{{ jwk = {inline(P256)} }}]":
        assert Policy.parse(text + proof, "policy.toml").allows("billing", "product")


# A policy that is created in Python


@pytest.mark.parametrize(
    ("services", "error"),
    [
        ({}, "services: there are no services"),
        ({"a": {"calls": ["a"]}}, r"services\.a\.calls\[0\]: a service needs no token to call itself"),
        ({"A": {}}, r"services\.A: 'A' is not a service name"),
        (
            {"a": {"keys": [{"jwk": P256}]}, "b": {"keys": [{"jwk": P256}]}},
            r"services\.b\.keys\[0\]: this key already belongs to the service 'a'",
        ),
    ],
)
def test_every_policy_is_valid(services: dict[str, Any], error: str) -> None:
    """The checks of a file apply wherever a policy comes from."""
    with pytest.raises(ValidationError, match=error):
        Policy(services={name: ServicePolicy.model_validate(table) for name, table in services.items()})


def test_a_policy_cannot_be_changed() -> None:
    """What has been checked stays as it was."""
    policy = Policy.parse(with_keys(P256), "policy.toml")
    service = policy.services["warehouse"]
    registered = service.keys[0]
    models: list[tuple[BaseModel, str]] = [
        (policy, "services"),
        (service, "calls"),
        (registered, "jwk"),
        (registered.jwk, "x"),
    ]
    for model, field in models:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(model, field, getattr(model, field))


# Any content


def check(text: str) -> None:
    """Check that `text` is a policy, or that its errors are reported, one in a line."""
    try:
        assert Policy.parse(text, "policy.toml").services
    except PolicyError as caught:
        error = caught
    else:
        return
    assert error.errors
    assert all(sentence for _, sentence in error.errors)
    assert len(str(error).split("\n")) == len(error.errors)


@given(st.text(st.characters()) | st.text("[]{}=.,#\"'\n services calls keys a1", max_size=60))
def test_any_text_is_a_policy_or_refused(text: str) -> None:
    """No other exception than `PolicyError` is raised."""
    check(text)


GOOD = SHOP.read_text() + with_keys(P256, OTHER_P256 | {"alg": "ES256"})


@given(st.integers(0, len(GOOD)), st.integers(0, 12), st.text(max_size=3) | st.sampled_from('[]{}="\n#'))
def test_any_change_to_a_policy_is_a_policy_or_refused(start: int, length: int, new: str) -> None:
    """Characters are removed, inserted or replaced anywhere."""
    check(GOOD[:start] + new + GOOD[start + length :])


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.booleans()
    | st.integers()
    | st.text(max_size=4)
    | st.sampled_from(["product", "a@b.iam.gserviceaccount.com", "EC", "OKP", P256["x"], P256, OTHER_P256]),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "services",
                    "product",
                    "calls",
                    "keys",
                    "service_accounts",
                    "jwk",
                    "added",
                    "expires",
                    "kty",
                    "x",
                    "d",
                    "EC",
                    "[key]",
                ]
            )
            | st.text(max_size=3),
            children,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["calls", "keys", "service_accounts", "EC"]), VALUES), VALUES, VALUES)
def test_any_value_anywhere_is_a_policy_or_refused(service: dict[str, Any], jwk: Any, added: Any) -> None:
    """Values of every type, in every place."""
    check(f"services.product = {inline(service)}\nservices.a = {inline(service)}\n")
    check(f"[[services.a.keys]]\njwk = {inline(jwk)}\nadded = {inline(added)}\n")
    check(f"[[services.a.keys]]\njwk = {inline(jwk)}\nexpires = {inline(added)}\n")
