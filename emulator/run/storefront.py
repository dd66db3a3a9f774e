"""The storefront as a stack serves it: a copy of web/dist with a config.json that names the stack's own addresses.

In production Hosting serves the storefront and the services at one origin. Here each service has an origin of its own,
so the Content-Security-Policy allows these as well. Nothing else differs from firebase.json.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

from emulator.run.errors import RunnerError
from emulator.run.logins import LOGINS

POLICY_HEADER = "Content-Security-Policy"
CONNECT = "connect-src "
"""The directive of the policy that says which servers the page may send requests to."""
CONFIG = "config.json"


def copy_storefront(dist: Path, folder: Path, *, project: str, apis: Mapping[str, str], auth_emulator: str) -> None:
    """Copy what `make setup` built in `dist` to `folder`, with a config.json for local servers.

    `apis` are the base URLs of the services by name. `auth_emulator` is the URL of the signed Auth emulator. The folder
    is emptied first. Raises RunnerError if there is nothing in `dist`.
    """
    if not (dist / "index.html").is_file():
        raise RunnerError("The storefront is not built: web/dist has no index.html. Run make setup.")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(dist, folder, ignore=shutil.ignore_patterns(".*"))
    config = {
        "apis": dict(apis),
        # The emulator accepts any key. The Firebase SDK needs one.
        "firebase": {"apiKey": "any", "authDomain": f"{project}.firebaseapp.com", "projectId": project},
        "authEmulator": auth_emulator,
        # The storefront offers to log in as one of them.
        "demoLogins": [asdict(login) for login in LOGINS],
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    # As everything in a data folder, they are for this user only.
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)


def local_hosting(hosting: Mapping[str, Any], public: str, origins: Iterable[str]) -> dict[str, Any]:
    """Return the part "hosting" of firebase.json for the hosting emulator.

    It serves the folder `public`. The page may send requests to `origins` as well. The rewrites to Cloud Run are left
    out, because the emulator would send these requests to Google.
    """
    local = deepcopy(dict(hosting))
    local["public"] = public
    local["rewrites"] = [rewrite for rewrite in local["rewrites"] if "run" not in rewrite]
    for rule in local["headers"]:
        for header in rule["headers"]:
            if header["key"] == POLICY_HEADER:
                header["value"] = header["value"].replace(CONNECT, f"{CONNECT}{' '.join(origins)} ", 1)
    return local
