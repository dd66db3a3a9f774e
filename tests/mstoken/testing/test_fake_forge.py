"""A forge for a `FakeFirebase`."""

from cryptography import x509

from mstoken.callee.callers import Admission, Call
from mstoken.testing import FakeFirebase
from mstoken.testing.fake_forge import FakeForge
from tests.clock import FakeClock


async def test_a_token_without_a_flaw_is_accepted() -> None:
    """So each refusal of a flaw is for the flaw alone."""
    clock = FakeClock(1_800_000_000.0)
    firebase = FakeFirebase(clock=clock)
    firebase.issue("svc:billing", provider="custom")  # Billing has signed in before, so its identity exists.
    forge = FakeForge(firebase, clock)
    token = forge.signed(forge.service_claims("billing", "product"))
    call = Call("GET", "/products", [token], proofs=[], authorizations=[])
    caller = await firebase.verifier("product").authorize(Admission.of(False, {"billing"}), call)
    assert str(caller) == "svc:billing"


def test_certificates_are_x509() -> None:
    """The attacks that use the certificate as a secret need a real one. All forges have the same."""
    forges = [FakeForge(FakeFirebase(), FakeClock(0.0)) for _ in range(2)]
    (pem,) = forges[0].certificates().values()
    assert x509.load_pem_x509_certificate(pem.encode())
    assert forges[0].certificates() == forges[1].certificates()
    assert forges[0].own_key is forges[1].own_key
