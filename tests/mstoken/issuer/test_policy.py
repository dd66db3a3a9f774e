"""The policy file: what it says, every fault that is found in it, and the lines that the faults are told with."""

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
from tests.mstoken.issuer.policies import ED25519, P256, fault, faults, inline, with_keys

SHOP = Path(__file__).parents[3] / "functions/policy.toml"
VECTORS = Path(__file__).parents[1] / "vectors"

TWO_SERVICES = """\
[services.billing]
service_accounts = ["billing@demo-shop.iam.gserviceaccount.com"]
calls = ["product"]

[services.product]
"""


# What a policy says


def test_the_policy_of_the_shop() -> None:
    """The file that is deployed has the shop's four services, with the calls that they make and no others."""
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
    """Each service has the account that the metadata emulator plays for it."""
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
def test_an_unknown_account_is_nobodys(email: str) -> None:
    """Only the very text that stands in the file is a service's account."""
    assert Policy.load(SHOP).service_of_account(email) is None


def test_an_unknown_service_may_nothing_and_has_nothing() -> None:
    """Whoever is not in the file has no keys and calls nobody, and nobody calls what is not there."""
    policy = Policy.load(SHOP)
    assert not policy.keys_of("warehouse")
    assert not policy.allows("warehouse", "product")
    assert not policy.allows("billing", "warehouse")


def test_what_is_left_out_is_empty() -> None:
    """A service that is only named has no account and no key, and calls nobody."""
    assert Policy.parse("[services.product]", "policy.toml").services == {"product": ServicePolicy()}


def test_a_service_may_have_several_accounts() -> None:
    """Those of a laptop and of production stand side by side, whatever kind of service account they are."""
    accounts = [
        "billing@demo-shop.iam.gserviceaccount.com",
        "billing@shop.example.com.iam.gserviceaccount.com",
        "123456789012-compute@developer.gserviceaccount.com",
        "shop@appspot.gserviceaccount.com",
    ]
    policy = Policy.parse(f"[services.billing]\nservice_accounts = {accounts}", "policy.toml")
    assert {policy.service_of_account(account) for account in accounts} == {"billing"}


def test_the_day_of_a_key() -> None:
    """It is read as a date, and may be left out."""
    dated, undated = Policy.parse(
        f"""
        [[services.warehouse.keys]]
        added = 2026-11-24
        jwk = {inline(P256)}
        [[services.warehouse.keys]]
        jwk = {inline(ED25519)}
        """,
        "policy.toml",
    ).keys_of("warehouse")
    assert (dated.added, undated.added) == (datetime.date(2026, 11, 24), None)


# What is no policy


def test_a_fault_is_told_with_file_line_and_place() -> None:
    """The text of the error is what one needs in order to mend the file."""
    text = TWO_SERVICES.replace('["product"]', '["prodcut"]')
    with pytest.raises(PolicyError) as caught:
        Policy.parse(text, "policy.toml")
    assert str(caught.value) == (
        "policy.toml, line 3: services.billing.calls.0: 'prodcut' is no service of this file (did you mean 'product'?)"
    )
    assert (caught.value.file, caught.value.line) == ("policy.toml", 3)


def test_all_faults_are_told_in_the_order_of_their_lines() -> None:
    """A sentence for each, on a line of its own, whether one service has it or several together."""
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
    with pytest.raises(PolicyError) as caught:
        Policy.parse(text, "policy.toml")
    assert [line for line, _ in caught.value.faults] == [1, 2, 3, 6, 7, 9]
    assert caught.value.line == 1
    places = [sentence.split(": ")[:2] for sentence in str(caught.value).split("\n")]
    assert places == [
        ["policy.toml, line 1", "services.Billing"],
        ["policy.toml, line 2", "services.Billing.service_accounts.0"],
        ["policy.toml, line 3", "services.Billing.calls.0"],
        ["policy.toml, line 6", "services.product.service_accounts"],
        ["policy.toml, line 7", "services.product.colour"],
        ["policy.toml, line 9", "services.delivery"],
    ]


def test_the_error_survives_copies_and_other_processes() -> None:
    """With its text and its facts."""
    error = PolicyError("policy.toml", [(3, "one"), (None, "two")])
    for again in copy.copy(error), pickle.loads(pickle.dumps(error)):
        assert str(again) == "policy.toml, line 3: one\npolicy.toml: two"
        assert (again.file, again.line, again.faults) == ("policy.toml", 3, ((3, "one"), (None, "two")))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[services.user]\ncalls\n", 2),
        ("[services.user]\n\n[services.user]\n", 3),
        ("[services.user]\ncalls = []\ncalls = []\n", 3),
        ("[services.user]\ncalls = [\n  'product',\n", 3),
        ("[services.user]\r\ncalls = [\r\n  product]\r\n", 3),
        ("services = {}\n[services.user]\ncalls = []\n", 2),
        ("[services.user]\nadded = 2026-02-30\n", 2),
    ],
)
def test_what_is_no_toml(text: str, line: int) -> None:
    """The line is the one that the parser stumbled over."""
    assert fault(text).startswith(f"line {line}: this is not TOML: ")
    assert "(at" not in fault(text)


def test_a_number_of_thousands_of_digits() -> None:
    """Python's own limit is a fault of the file too."""
    assert fault("a = " + "9" * 5000).startswith(": this is not TOML: ")


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "[" * 5000 + "]" * 5000])
def test_a_file_that_nests_too_deeply(text: str) -> None:
    """It does not end the process."""
    assert fault(text).endswith("nested too deeply")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """It is named, as it was given."""
    with pytest.raises(PolicyError) as caught:
        Policy.load(tmp_path / "policy.toml")
    assert str(caught.value) == f"{tmp_path / 'policy.toml'}: it cannot be read: No such file or directory"
    assert (caught.value.file, caught.value.line) == (str(tmp_path / "policy.toml"), None)


def test_a_directory_is_no_policy(tmp_path: Path) -> None:
    """Nor is anything else that has no content."""
    with pytest.raises(PolicyError, match="it cannot be read"):
        Policy.load(tmp_path)


def test_a_file_that_is_not_utf_8(tmp_path: Path) -> None:
    """TOML is UTF-8, and the first line that is not is told."""
    path = tmp_path / "policy.toml"
    path.write_bytes("# für\n# für\n".encode() + "# für\n# für\n".encode("latin-1"))
    with pytest.raises(PolicyError) as caught:
        Policy.load(path)
    assert str(caught.value) == f"{path}, line 3: this is not UTF-8"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ": services: it is missing"),
        ("# nothing yet\n", ": services: it is missing"),
        ("# nothing yet\n[services]\n", "line 2: services: there is none, so nobody could have a token"),
        ("services = []\n", "line 1: services: a table is wanted"),
    ],
)
def test_no_services_at_all(text: str, said: str) -> None:
    """An empty policy is a mistake."""
    assert fault(text) == said


def test_the_first_line_of_an_error_is_a_line() -> None:
    """What concerns the whole file comes last: here, that a misspelt word leaves no services at all."""
    with pytest.raises(PolicyError) as caught:
        Policy.parse("\n[service.user]\n", "policy.toml")
    assert caught.value.line == 2
    assert [line for line, _ in caught.value.faults] == [2, None]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colour = 1\n[services.user]\n", "line 1: colour: this is not known here; known are services"),
        (
            "[services.user]\ncall = ['product']\n",
            "line 2: services.user.call: this is not known here; known are calls, keys, service_accounts",
        ),
        (
            f"[[services.user.keys]]\njwk = {inline(P256)}\nday = 1\n",
            "line 3: services.user.keys.0.day: this is not known here; known are added, jwk",
        ),
        (
            with_keys(P256 | {"colour": 1}),
            "line 3: services.warehouse.keys.0.jwk.colour: "
            "this is not known here; known are alg, crv, kid, kty, use, x, y",
        ),
        (
            with_keys(ED25519 | {"y": P256["y"]}),
            "line 3: services.warehouse.keys.0.jwk.y: this is not known here; known are alg, crv, kid, kty, use, x",
        ),
    ],
)
def test_unknown_keys(text: str, said: str) -> None:
    """What is not known is refused, not passed over: it may be a typing error for what is."""
    assert fault(text) == said


@pytest.mark.parametrize("name", ["Billing", "bill ing", "-billing", "1st", "a.b", "", "ä", "a" * 64])
def test_names_that_no_service_can_have(name: str) -> None:
    """They are those of the tokens."""
    said = fault(f"[services.{json.dumps(name, ensure_ascii=False)}]\n")
    place = name if re.fullmatch(r"[\w-]+", name, re.ASCII) else f"'{name}'"
    assert said.startswith(f"line 1: services.{place}: {name!r} is not a service name")


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
def test_who_is_no_service_account(account: str) -> None:
    """People, groups and everybody else cannot be a service; nor can an account that Google would not write so."""
    said = fault(f"[services.billing]\nservice_accounts = {inline([account])}\n")
    assert said.startswith(f"line 2: services.billing.service_accounts.0: {account!r} is no service account")


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("service_accounts = 'a@b.iam.gserviceaccount.com'", "service_accounts: a list is wanted"),
        ("service_accounts = [1]", "service_accounts.0: a text is wanted"),
        ("calls = 'product'", "calls: a list is wanted"),
        ("calls = { product = true }", "calls: a list is wanted"),
        ("calls = [['product']]", "calls.0: a text is wanted"),
        ("keys = ['a key']", "keys.0: a table is wanted"),
        ("keys = [{}]", "keys.0.jwk: it is missing"),
        ("keys = [{ jwk = 'a key' }]", "keys.0.jwk: a table is wanted"),
        ("keys = [{ jwk = {} }]", "keys.0.jwk: it has no kty"),
        (f"keys = [{{ added = 5, jwk = {inline(P256)} }}]", "keys.0.added: a date is wanted, such as 2026-11-24"),
        (
            f"keys = [{{ added = '2026-11-24', jwk = {inline(P256)} }}]",
            "keys.0.added: a date is wanted, such as 2026-11-24",
        ),
        (
            f"keys = [{{ added = 2026-11-24T00:00:00, jwk = {inline(P256)} }}]",
            "keys.0.added: a date is wanted, such as 2026-11-24",
        ),
    ],
)
def test_values_of_another_kind(line: str, wanted: str) -> None:
    """What is wanted is said, in the words of the file and not of the parser."""
    accounts = "" if line.startswith(("service_accounts", "keys")) else "service_accounts = ['a@b.gserviceaccount.com']"
    assert f"line 3: services.user.{wanted}" in faults(f"[services.user]\n{accounts}\n{line}\n[services.product]\n")


def test_a_service_that_is_no_table() -> None:
    """The other services' faults are told nonetheless."""
    text = "[services]\nuser = true\nproduct = { calls = ['billing', 'user'] }\n"
    said = faults(text)
    assert said[0] == "line 2: services.user: a table is wanted"
    assert said[-1] == "line 3: services.product.calls.0: 'billing' is no service of this file"


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ("[services.product]\n", "is that of 'billing' already"),
        ("", "stands here twice"),
    ],
)
def test_an_account_that_stands_there_twice(second: str, said: str) -> None:
    """Under two services it would not tell who calls; under one it is a mistake."""
    account = "billing@demo-shop.iam.gserviceaccount.com"
    other = "'other@demo-shop.iam.gserviceaccount.com'"
    if second:
        text = (
            f"[services.billing]\nservice_accounts = ['{account}']\n{second}service_accounts = [{other}, '{account}']"
        )
        place = "line 4: services.product.service_accounts.1"
    else:
        text = f"[services.billing]\nservice_accounts = ['{account}', '{account}']"
        place = "line 2: services.billing.service_accounts.1"
    assert fault(text) == f"{place}: '{account}' {said}"


def test_a_key_that_stands_there_twice() -> None:
    """It is the same key whatever it is called, and however its members are arranged."""
    again = dict(reversed((P256 | {"kid": "another name"}).items()))
    assert fault(with_keys(P256, ED25519, again)) == "line 5: services.warehouse.keys.2: this key stands here twice"
    text = with_keys(P256) + with_keys(again).replace("warehouse", "courier")
    assert fault(text) == "line 7: services.courier.keys.0: this key is that of 'warehouse' already"


def test_a_service_that_calls_itself() -> None:
    """It has no need of a token for that."""
    text = "[services.user]\nservice_accounts = ['a@b.gserviceaccount.com']\ncalls = ['user']\n"
    assert fault(text) == "line 3: services.user.calls.0: a service does not call itself"


def test_a_call_to_what_is_not_there() -> None:
    """The line is that of the name, in a list that has many, and what is like no service is compared with none."""
    text = TWO_SERVICES.replace('["product"]', '[\n  "product", # prices\n  # "user",\n  "warehouse",\n]')
    assert fault(text) == "line 6: services.billing.calls.1: 'warehouse' is no service of this file"


def test_a_service_that_calls_and_cannot_say_who_it_is() -> None:
    """Neither account nor key: the token service would refuse it for ever."""
    text = "[services.product]\n\n[services.billing]\n\ncalls = ['product']\n"
    assert fault(text).startswith(
        "line 3: services.billing: it calls others, and has neither service_accounts nor keys"
    )
    for proof in "service_accounts = ['a@b.gserviceaccount.com']", f"keys = [{{ jwk = {inline(P256)} }}]":
        assert Policy.parse(text + proof, "policy.toml").allows("billing", "product")


# A policy that is put together in Python


@pytest.mark.parametrize(
    ("services", "said"),
    [
        ({}, "services: there is none"),
        ({"a": {"calls": ["a"]}}, "services.a.calls.0: a service does not call itself"),
        ({"A": {}}, "services.A: 'A' is not a service name"),
        (
            {"a": {"keys": [{"jwk": P256}]}, "b": {"keys": [{"jwk": P256}]}},
            "services.b.keys.0: this key is that of 'a'",
        ),
    ],
)
def test_there_is_no_policy_with_a_fault(services: dict[str, Any], said: str) -> None:
    """What is checked in a file is checked wherever a policy comes from."""
    with pytest.raises(ValidationError, match=said):
        Policy(services={name: ServicePolicy.model_validate(table) for name, table in services.items()})


def test_nothing_of_a_policy_changes() -> None:
    """What was checked stays as it was."""
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


# Anything at all


def check(text: str) -> None:
    """That `text` is a policy, or that what is wrong with it is told."""
    try:
        assert Policy.parse(text, "policy.toml").services
    except PolicyError as caught:
        error = caught
    else:
        return
    assert error.faults
    assert all(sentence for _, sentence in error.faults)
    assert len(str(error).split("\n")) == len(error.faults)
    lines = [line for line, _ in error.faults if line is not None]
    assert lines == sorted(lines)
    assert all(0 < line <= text.count("\n") + 1 for line in lines)


@given(st.text(st.characters()) | st.text("[]{}=.,#\"'\n services calls keys a1", max_size=60))
def test_any_text_is_a_policy_or_refused(text: str) -> None:
    """Nothing but `PolicyError` comes of it."""
    check(text)


GOOD = SHOP.read_text() + with_keys(P256, ED25519 | {"alg": "EdDSA"})


@given(st.integers(0, len(GOOD)), st.integers(0, 12), st.text(max_size=3) | st.sampled_from('[]{}="\n#'))
def test_any_change_to_a_policy_is_a_policy_or_refused(start: int, length: int, new: str) -> None:
    """Wherever characters are lost, put in or replaced."""
    check(GOOD[:start] + new + GOOD[start + length :])


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.booleans()
    | st.integers()
    | st.text(max_size=4)
    | st.sampled_from(["product", "a@b.iam.gserviceaccount.com", "EC", "OKP", P256["x"], P256, ED25519]),
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
    """Of whatever kind it is, and in whatever place it stands."""
    check(f"services.product = {inline(service)}\nservices.a = {inline(service)}\n")
    check(f"[[services.a.keys]]\njwk = {inline(jwk)}\nadded = {inline(added)}\n")
