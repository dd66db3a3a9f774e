"""The whole table of attacks: nothing is missing in it, and each row has an id of its own."""

from collections.abc import Sequence

from emulator.attacks.attacker import CONTROLS
from emulator.attacks.recorded import RECORDED, Recorded
from emulator.attacks.smuggling import SMUGGLING, Smuggling
from emulator.attacks.table import ATTACKS, GROUPS
from emulator.attacks.trailers import TRAILERS, Trailer
from mstoken.testing.proof_flaws import PROOF_FLAWS, ProofFlaw
from mstoken.testing.token_flaws import FLAWS, SERVICE_FLAWS, Flaw

HARMLESS = {"a bare line feed and another header", "the name in another case", "spaces around the value"}


def names(group: str) -> list[str]:
    return [attack.name for attack in ATTACKS if attack.group == group]


def test_the_table_has_every_row_of_its_parts() -> None:
    """A row that is added to a part is in the table of the lab too."""
    parts: dict[str, Sequence[Recorded | ProofFlaw | Flaw | Smuggling | Trailer]] = {
        "calls": RECORDED,
        "proofs": PROOF_FLAWS,
        "services": SERVICE_FLAWS,
        "tokens": FLAWS,
        "headers": SMUGGLING,
        "trailers": TRAILERS,
        "users": FLAWS,
    }
    assert {group: names(group) for group in GROUPS} == {
        group: [row.name for row in rows] for group, rows in parts.items()
    }


def test_each_attack_has_an_id_of_its_own() -> None:
    """The lab finds an attack by its id."""
    ids = [attack.id for attack in (*ATTACKS, *CONTROLS)]
    assert len(set(ids)) == len(ids)


def test_a_few_rows_are_not_attacks() -> None:
    """They mean the same as a plain call, and are accepted. All others must be refused."""
    assert {attack.name for attack in ATTACKS if not attack.must_be_refused} == HARMLESS
    assert not any(attack.must_be_refused for attack in CONTROLS)
