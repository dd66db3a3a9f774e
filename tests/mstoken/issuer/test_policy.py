"""The policy file: what it says, every fault that is found in it, and the lines that the faults are told with."""

import copy
import datetime
import json
import pickle
import re
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm
from pydantic import BaseModel, ValidationError

from mstoken.compact import base64url
from mstoken.errors import PolicyError
from mstoken.issuer.policy import Policy, RegisteredKey, ServicePolicy, TomlPath, line_of
from mstoken.proof import thumbprint

SHOP = Path(__file__).parents[3] / "functions/policy.toml"
VECTORS = Path(__file__).parents[1] / "vectors"

P256_KEY = ec.generate_private_key(ec.SECP256R1())
P256 = ECAlgorithm.to_jwk(P256_KEY.public_key(), as_dict=True)
ED25519_KEY = ed25519.Ed25519PrivateKey.generate()
ED25519 = OKPAlgorithm.to_jwk(ED25519_KEY.public_key(), as_dict=True)
SMALL_ORDER = [
    bytes([1, *[0] * 31]),
    bytes(32),
    bytes([*[0] * 31, 0x80]),
    (2**255 - 20).to_bytes(32, "little"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"),
]
"""The eight points of small order of edwards25519: 1, 4, 4, 2, and four times 8."""
TWO_SERVICES = """\
[services.billing]
service_accounts = ["billing@demo-shop.iam.gserviceaccount.com"]
calls = ["product"]

[services.product]
"""


def inline(value: Any) -> str:
    """A value as TOML on one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {inline(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(inline(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def with_keys(*jwks: Any) -> str:
    """A policy file in which a service outside Google Cloud has these keys; the first one stands on line 3."""
    items = "".join(f"  {{ jwk = {inline(jwk)} }},\n" for jwk in jwks)
    return f"[services.warehouse]\nkeys = [\n{items}]\n"


def key(jwk: Any) -> RegisteredKey:
    """The one registered key of a policy file."""
    (found,) = Policy.parse(with_keys(jwk), "policy.toml").keys_of("warehouse")
    return found


def faults(text: str) -> list[str]:
    """The sentences about a policy file that is wrong, without the file's name."""
    with pytest.raises(PolicyError) as caught:
        Policy.parse(text, "policy.toml")
    return [sentence.removeprefix("policy.toml").removeprefix(", ") for sentence in str(caught.value).split("\n")]


def fault(text: str) -> str:
    """The only sentence about a policy file that is wrong."""
    (sentence,) = faults(text)
    return sentence


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


@pytest.mark.parametrize(
    ("private", "jwk", "algorithm"), [(P256_KEY, P256, "ES256"), (ED25519_KEY, ED25519, "EdDSA")], ids=["EC", "OKP"]
)
def test_a_registered_key_verifies_what_its_service_signs(private: Any, jwk: dict[str, str], algorithm: str) -> None:
    """Of each kind of key that is accepted: PyJWT takes it, with the one algorithm that goes with it."""
    registered = key(jwk)
    assert registered.algorithm == algorithm
    token = jwt.encode({"iss": "warehouse"}, private, algorithm)
    assert jwt.decode(token, registered.public_key, [registered.algorithm]) == {"iss": "warehouse"}


@pytest.mark.parametrize("jwk", [P256, ED25519], ids=["EC", "OKP"])
def test_a_registered_key_is_known_by_its_thumbprint(jwk: dict[str, str]) -> None:
    """RFC 7638: whatever else the JWK says of the key."""
    assert key(jwk).key_id == key(jwk | {"kid": "a name", "use": "sig"}).key_id == thumbprint(jwk)


def test_the_key_of_rfc_8037() -> None:
    """Its thumbprint is the one that the RFC prints (appendix A.3)."""
    (vector,) = (one for one in json.loads((VECTORS / "thumbprints.json").read_text()) if one["jwk"]["kty"] == "OKP")
    assert key(vector["jwk"]).key_id == vector["thumbprint"]


@pytest.mark.parametrize("more", [{"kid": "any"}, {"kid": 7}, {"kid": {"a": 1}}, {"use": "sig"}, {"alg": "ES256"}])
def test_what_else_a_jwk_may_say(more: dict[str, Any]) -> None:
    """A name is ignored; a use and an algorithm may be said if they are the ones that the key is for."""
    assert key(P256 | more).algorithm == "ES256"


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
    assert said.startswith(f"line 1: services.{place}: {name!r} is no service name")


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


# Keys that are not to be trusted


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kty": "RSA"}, "jwk: a key of the kty 'EC' or 'OKP' is wanted"),
        ({"kty": "oct"}, "jwk: a key of the kty 'EC' or 'OKP' is wanted"),
        ({"kty": ["EC"]}, "jwk: a key of the kty 'EC' or 'OKP' is wanted"),
        ({"crv": "P-384"}, "jwk.crv: 'P-256' is wanted"),
        ({"crv": "secp256k1"}, "jwk.crv: 'P-256' is wanted"),
        ({"crv": "Ed25519"}, "jwk.crv: 'P-256' is wanted"),
        ({"alg": "ES384"}, "jwk.alg: 'ES256' is wanted"),
        ({"alg": "EdDSA"}, "jwk.alg: 'ES256' is wanted"),
        ({"alg": "none"}, "jwk.alg: 'ES256' is wanted"),
        ({"use": "enc"}, "jwk.use: 'sig' is wanted"),
        ({"x": P256["y"]}, "jwk: it is no key of the curve P-256"),
        ({"x": "A" * 43, "y": "A" * 43}, "jwk: it is no key of the curve P-256"),
        ({"x": P256["x"] + "="}, "jwk.x: 32 bytes of base64url are wanted, without padding"),
        ({"y": base64url(bytes(31))}, "jwk.y: 32 bytes of base64url are wanted, without padding"),
        ({"y": base64url(bytes(33))}, "jwk.y: 32 bytes of base64url are wanted, without padding"),
        ({"y": "A" * 42 + "B"}, "jwk.y: 32 bytes of base64url are wanted, without padding"),
        ({"x": 5}, "jwk.x: a text is wanted"),
    ],
)
def test_keys_that_are_none_of_p_256(changes: dict[str, Any], said: str) -> None:
    """ES256 on its own curve, in the one spelling that a key has, and nothing else."""
    assert fault(with_keys(P256 | changes)) == f"line 3: services.warehouse.keys.0.{said}"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"crv": "Ed448"}, "jwk.crv: 'Ed25519' is wanted"),
        ({"crv": "X25519"}, "jwk.crv: 'Ed25519' is wanted"),
        ({"alg": "ES256"}, "jwk.alg: 'EdDSA' is wanted"),
        ({"x": base64url(bytes(57))}, "jwk.x: 32 bytes of base64url are wanted, without padding"),
        ({"x": base64url((2).to_bytes(32, "little"))}, "jwk: it is no key of the curve Ed25519"),
        ({"x": base64url((2**255 - 19 + 3).to_bytes(32, "little"))}, "jwk: it is no key of the curve Ed25519"),
        *[({"x": base64url(point)}, "jwk: it is no key of the curve Ed25519") for point in SMALL_ORDER],
    ],
)
def test_keys_that_are_none_of_ed25519(changes: dict[str, Any], said: str) -> None:
    """Of points that cryptography takes too, those that are off the curve, or that anyone can sign for."""
    assert fault(with_keys(ED25519 | changes)) == f"line 3: services.warehouse.keys.0.{said}"


@given(st.binary(min_size=32, max_size=32))
def test_every_key_of_ed25519_is_accepted(seed: bytes) -> None:
    """Whatever is the public key of a private one."""
    public = ed25519.Ed25519PrivateKey.from_private_bytes(seed).public_key()
    assert key(OKPAlgorithm.to_jwk(public, as_dict=True)).public_key == public


@pytest.mark.parametrize("member", ["d", "p", "q", "dp", "dq", "qi", "oth", "k"])
@pytest.mark.parametrize("jwk", [P256, ED25519, {"kty": "RSA"}, {"kty": "oct"}, {}], ids=lambda jwk: jwk.get("kty"))
def test_a_private_key_is_refused_and_not_repeated(jwk: dict[str, Any], member: str) -> None:
    """Whoever has read the file has the key: it is worth nothing any more, and the log is not to have it as well."""
    secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I"
    for text in (
        with_keys(jwk | {member: secret}),
        with_keys(ED25519).replace("{ jwk", f"{{ {member} = '{secret}', jwk"),
    ):
        with pytest.raises(PolicyError) as caught:
            Policy.parse(text, "policy.toml")
        assert "keys.0: a private key stands here, which is not to be trusted any more" in str(caught.value)
        assert caught.value.line == 3
        assert caught.value.__context__ is None
        assert secret not in repr(vars(caught.value)) + str(caught.value)


# A policy that is put together in Python


@pytest.mark.parametrize(
    ("services", "said"),
    [
        ({}, "services: there is none"),
        ({"a": {"calls": ["a"]}}, "services.a.calls.0: a service does not call itself"),
        ({"A": {}}, "services.A: 'A' is no service name"),
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


def test_errors_of_models_hide_what_was_read() -> None:
    """A private key is not repeated either when a key is made in Python."""
    with pytest.raises(ValidationError) as caught:
        RegisteredKey.model_validate({"jwk": P256 | {"d": "secret-of-a-service"}})
    assert "secret-of-a-service" not in str(caught.value)


# Lines

MANY_SHAPES = """\
# A comment, and a blank line.

title = "one"
dotted.inner.value = 1
table = { first = 1, second = { third = [1, 2] } }

[outer]
one_line = ["a", "b"]
list = [
  "a", # [ "x",
  # "not this",

  "b", "c",
  { name = "d", numbers = [
      1,
      2,
  ] },
  "e"
  , "f"
]
text = \"\"\"
list = [
]
[other]
\"\"\"
after = 2

[[outer.items]]
name = "first"

[[outer.items]]
name = "second"
jwk.x = 1
jwk.y = 2

[[outer.items.parts]]
part = 1

[ outer . "quoted key" ]
value = 1

[late.table.inner]
[late.table]
value = 1
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("title",), 3),
        (("dotted",), 4),
        (("dotted", "inner", "value"), 4),
        (("table", "second", "third", 1), 5),
        (("outer",), 7),
        (("outer", "one_line", 1), 8),
        (("outer", "list"), 9),
        (("outer", "list", 0), 10),
        (("outer", "list", 1), 13),
        (("outer", "list", 2), 13),
        (("outer", "list", 3), 14),
        (("outer", "list", 3, "numbers", 1), 14),
        (("outer", "list", 4), 18),
        (("outer", "list", 5), 19),
        (("outer", "text"), 21),
        (("outer", "after"), 26),
        (("outer", "items"), 28),
        (("outer", "items", 0), 28),
        (("outer", "items", 0, "name"), 29),
        (("outer", "items", 1), 31),
        (("outer", "items", 1, "name"), 32),
        (("outer", "items", 1, "jwk"), 33),
        (("outer", "items", 1, "jwk", "x"), 33),
        (("outer", "items", 1, "jwk", "y"), 34),
        (("outer", "items", 1, "parts", 0), 36),
        (("outer", "items", 1, "parts", 0, "part"), 37),
        (("outer", "quoted key"), 39),
        (("outer", "quoted key", "value"), 40),
        (("late",), 42),
        (("late", "table"), 42),
        (("late", "table", "value"), 44),
        (("outer", "missing"), 7),
        (("outer", "items", 1, "missing", "x"), 31),
        (("outer", "items", 2), 28),
        (("outer", "list", 9), 9),
        (("title", "missing"), 3),
        (("missing",), None),
        (("missing", "too"), None),
        ((), None),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["unix", "windows"])
def test_the_line_at_which_a_value_begins(path: TomlPath, line: int | None, newline: str) -> None:
    """In every shape that TOML has for it; for what is missing, the line of what it is missing from."""
    assert line_of(MANY_SHAPES.replace("\n", newline), path) == line


FILLERS = st.sampled_from(["", "  ", "# a comment", "# key = [", '# "', "\t# ]"])
STATEMENTS = st.sampled_from(
    [["{} = 1"], ["{} = [", "  1, # [", "]"], ["{} = '''", "[", "x = 1", "'''"], ["{}.a.b = {{}}"]]
)


@given(st.data())
def test_the_line_of_any_statement(data: st.DataObject) -> None:
    """Whatever stands around it."""
    lines: list[str] = []
    expected: dict[TomlPath, int] = {}
    items = 0
    for table in range(data.draw(st.integers(0, 3), label="tables")):
        place: TomlPath = (f"table{table}",)
        if in_list := data.draw(st.booleans(), label="in a list"):
            place, items = ("list", items), items + 1
        lines += data.draw(st.lists(FILLERS, max_size=2))
        lines.append("[[list]]" if in_list else f"[{place[0]}]")
        expected[place] = len(lines)
        for index in range(data.draw(st.integers(0, 3), label="statements")):
            lines += data.draw(st.lists(FILLERS, max_size=2))
            expected[(*place, f"k{index}")] = len(lines) + 1
            lines += [line.format(f"k{index}") for line in data.draw(STATEMENTS)]
    assert {path: line_of("\n".join(lines), path) for path in expected} == expected


@given(st.lists(st.tuples(st.lists(FILLERS, max_size=2), st.integers(1, 3)), min_size=1, max_size=6))
def test_the_line_of_any_item(groups: list[tuple[list[str], int]]) -> None:
    """Of a list that goes over several lines, with blank lines and comments in it, and several items on one line."""
    lines, expected = ["calls = ["], []
    for fillers, items in groups:
        lines += [*fillers, ", ".join(["'['"] * items) + ","]
        expected += [len(lines)] * items
    text = "\n".join([*lines, "]"])
    assert [line_of(text, ("calls", index)) for index in range(len(expected))] == expected


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
