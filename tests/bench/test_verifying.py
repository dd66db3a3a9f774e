"""The cases of a verification: each of them accepts its calls, and those that spend accept each call once."""

from pathlib import Path

import pytest
from firebase_admin import app_check, auth

from bench import verifying
from bench.issuer import Issuer
from bench.verifying import all_works
from mstoken.errors import ProofReplayed, TokenReplayed


async def test_each_case_does_what_its_name_says(tmp_path: Path) -> None:
    """All cases without a server accept two calls. What spends refuses the second use of the same call."""
    async with all_works(tmp_path, {}) as works:
        for work in works.values():
            for call in work.inputs(2):
                await work.call(call)
        for name, refusal in {
            verifying.FRESH: TokenReplayed,
            verifying.FRESH_IN_MEMORY: TokenReplayed,
            verifying.PROOF: ProofReplayed,
            verifying.PROOF_IN_MEMORY: ProofReplayed,
            verifying.PYJWT_SPEND: ValueError,
        }.items():
            (call,) = works[name].inputs(1)
            await works[name].call(call)
            with pytest.raises(refusal):
                await works[name].call(call)
        assert {*verifying.QUICK, *verifying.SUMMARY, *verifying.PARTS} <= works.keys()
    assert {name for name in works if "Redis" in name or "PostgreSQL" in name} == set()


def test_what_is_compared_can_be_made_again(tmp_path: Path) -> None:
    """A second measurement in the same process, as of `make bench-quick`, has apps of its own."""
    issuer = Issuer()
    token = issuer.id_token("svc:billing", {})
    for _ in range(2):
        with (
            issuer.credentials(tmp_path),
            issuer.plain_admin_app() as admin,
            issuer.app_check_app(0.0) as consuming,
        ):
            assert auth.verify_id_token(token, admin)["uid"] == "svc:billing"
            with pytest.raises(ValueError, match="App Check"):
                app_check.verify_token(token, consuming, consume=True)
