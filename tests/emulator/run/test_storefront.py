"""The storefront on Hosting, in production (firebase.json) and as a stack serves it"""

import json
import re
import stat
from pathlib import Path
from typing import Any

import httpx
import pytest

from emulator.run.errors import RunnerError
from emulator.run.logins import MAYA
from emulator.run.ports import Ports
from emulator.run.stack import ROOT, SERVICES, Stack
from emulator.run.storefront import POLICY_HEADER, copy_storefront, local_hosting
from tests.waiting import WAIT_SECONDS

LOCAL = ["http://127.0.0.1:8001", "http://127.0.0.1:9100"]


def hosting() -> dict[str, Any]:
    """Return what firebase.json says about Hosting."""
    found: dict[str, Any] = json.loads((ROOT / "firebase.json").read_text())["hosting"]
    return found


def policy(hosting: dict[str, Any]) -> dict[str, list[str]]:
    """Return the Content-Security-Policy of every page: directive -> sources."""
    [rule] = [rule for rule in hosting["headers"] if rule.get("regex") == ".*"]
    [value] = [header["value"] for header in rule["headers"] if header["key"] == POLICY_HEADER]
    directives = [part.split() for part in value.split(";")]
    return {name: sources for name, *sources in directives}


def test_the_policy_of_production() -> None:
    """Pages load only what Hosting serves, and talk to Firebase Auth and the services only. Nothing may frame them."""
    assert policy(hosting()) == {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'"],
        "connect-src": ["'self'", "https://identitytoolkit.googleapis.com", "https://securetoken.googleapis.com"],
        "manifest-src": ["'self'"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
    }


def test_the_local_policy_differs_by_the_local_origins_only() -> None:
    """What works on a laptop works in production: the local policy adds the local servers, and changes nothing else."""
    local = local_hosting(hosting(), "storefront", LOCAL)
    expected = policy(hosting())
    expected["connect-src"] = [*LOCAL, *expected["connect-src"]]
    assert policy(local) == expected
    local["headers"] = hosting()["headers"]
    assert local == hosting() | {"public": "storefront", "rewrites": [hosting()["rewrites"][-1]]}


def test_hosting_sends_each_service_its_calls() -> None:
    """/api/user and so on go to the Cloud Run service of that name, and each page of the storefront is index.html."""
    *apis, pages = hosting()["rewrites"]
    assert [(rewrite["source"], rewrite["run"]["serviceId"]) for rewrite in apis] == [
        (f"/api/{service}/**", service) for service in SERVICES
    ]
    assert pages == {"source": "!/@(api|assets)/**", "destination": "/index.html"}


def test_the_copy_names_the_addresses_of_the_stack(tmp_path: Path) -> None:
    """config.json has the same keys as in production, with local servers. Old files and hidden ones are not served."""
    dist, folder = tmp_path / "dist", tmp_path / "storefront"
    for path in (dist, folder):
        path.mkdir()
    (dist / "index.html").write_text("<p>")
    (dist / ".made-from").write_text("a digest")
    (folder / "old.js").touch()
    apis = {"user": "http://127.0.0.1:8001"}
    copy_storefront(dist, folder, project="demo-shop", apis=apis, auth_emulator="http://127.0.0.1:9100")
    assert {path.name for path in folder.iterdir()} == {"index.html", "config.json"}
    config = json.loads((folder / "config.json").read_text())
    assert (config["apis"], config["authEmulator"]) == (apis, "http://127.0.0.1:9100")
    assert config["firebase"]["projectId"] == "demo-shop"
    assert {"role": MAYA.role, "name": MAYA.name, "email": MAYA.email, "password": MAYA.password} in config[
        "demoLogins"
    ]
    assert stat.S_IMODE((folder / "index.html").stat().st_mode) == 0o600


def test_a_storefront_that_was_not_built_is_named(tmp_path: Path) -> None:
    """Without web/dist nothing starts, and the message says what to do."""
    with pytest.raises(RunnerError, match=r"The storefront is not built: .* Run make setup\."):
        copy_storefront(tmp_path, tmp_path / "out", project="demo-shop", apis={}, auth_emulator="")


def test_the_local_config_has_the_keys_of_production(emulators: Stack) -> None:
    """The storefront reads the same settings everywhere. Only a demo shop also has demo users, which it offers."""
    ours = json.loads((emulators.data / "storefront" / "config.json").read_text())
    production = json.loads((ROOT / "web" / "public" / "config.json").read_text())
    assert ours.keys() == production.keys() | {"demoLogins"}
    assert ours["apis"].keys() == production["apis"].keys() == set(SERVICES)
    assert ours["firebase"].keys() == production["firebase"].keys()
    assert production["authEmulator"] is None


@pytest.mark.parametrize("path", ["/", "/index.html", "/basket", "/bills/a.b", "/.hidden", "/config.json", "/x/../y"])
def test_every_page_has_the_policy_and_is_asked_for_again(emulators: Stack, path: str) -> None:
    """A page of the storefront, whatever its path, has the policy, and browsers ask whether there is a newer one."""
    answer = httpx.get(f"{emulators.url('hosting')}{path}", timeout=WAIT_SECONDS)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-cache"
    sent = {name: sources for name, *sources in (part.split() for part in answer.headers[POLICY_HEADER].split(";"))}
    assert sent == policy(hosting()) | {"connect-src": sent["connect-src"]}
    assert set(sent["connect-src"]) - set(policy(hosting())["connect-src"]) == {
        *(emulators.url(service) for service in SERVICES),
        f"http://{emulators.auth_host}",
    }
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "strict-origin"


def seconds_kept(cache_control: str) -> int:
    """Return for how long a browser uses an answer without asking again, in seconds."""
    [seconds] = re.findall(r"\bmax-age=(\d+)", cache_control)
    return int(seconds)


def test_no_file_is_kept_longer_than_a_missing_one_may_be() -> None:
    """Hosting finds headers by the path alone, so each rule is for a 404 too, which no browser may keep for a day."""
    headers = [header for rule in hosting()["headers"] for header in rule["headers"]]
    values = [header["value"] for header in headers if header["key"] == "Cache-Control"]
    assert len(values) == 2
    for value in values:
        assert "immutable" not in value
        assert value == "no-cache" or seconds_kept(value) <= 3_600


def test_assets_are_loaded_once(emulators: Stack) -> None:
    """A browser uses a built file at once for a year, and asks behind the page, after an hour, whether it is there."""
    [script, *_] = (emulators.data / "storefront" / "assets").glob("*.js")
    answer = httpx.get(f"{emulators.url('hosting')}/assets/{script.name}", timeout=WAIT_SECONDS)
    assert answer.headers["Cache-Control"] == "public, max-age=3600, stale-while-revalidate=31536000"
    assert "javascript" in answer.headers["Content-Type"]
    assert answer.headers["ETag"]


def test_a_missing_asset_is_looked_for_again(emulators: Stack) -> None:
    """It is a 404, not the page, and a browser keeps it for an hour at most: the file may be there then."""
    answer = httpx.get(f"{emulators.url('hosting')}/assets/missing.js", timeout=WAIT_SECONDS)
    assert answer.status_code == 404
    assert "immutable" not in answer.headers["Cache-Control"]
    assert seconds_kept(answer.headers["Cache-Control"]) <= 3_600
    assert httpx.get(f"{emulators.url('hosting')}/api/user/profile", timeout=WAIT_SECONDS).status_code == 404


def test_the_services_allow_the_origin_of_the_storefront() -> None:
    """Each service of a stack allows the page of the stack's own Hosting emulator, under both names of this machine."""
    stack = Stack(Ports.shifted(1000), Path("unused"))
    for service in SERVICES:
        origins = stack._service_environment(service)["ALLOWED_ORIGINS"]
        assert origins == "http://127.0.0.1:6000,http://localhost:6000"
