"""Accounts, roles, variables and ports are the same in deploy/, in docs/production.md and in the code."""

import json
import re
from typing import Any

import pytest

from emulator.run.ports import Ports
from mstoken import Settings
from mstoken.emulator.addresses import METADATA_VARIABLES
from mstoken.settings import AUTH_EMULATOR_VARIABLE, STATUS_URL_VARIABLE
from services.billing.settings import BillingSettings
from services.billing.tasks import CLOUD_TASKS_EMULATOR_VARIABLE
from services.common.settings import ServiceSettings
from services.product.settings import ProductSettings
from services.user.settings import UserSettings
from tests.deploy import files
from tests.deploy.dockerfile import exec_form, stages

SETTINGS: dict[str, type[ServiceSettings]] = {
    "user": UserSettings,
    "product": ProductSettings,
    "billing": BillingSettings,
}
OTHER_VARIABLES = {"PORT", CLOUD_TASKS_EMULATOR_VARIABLE, *METADATA_VARIABLES}
"""What the health check, firebase-admin and google-auth read. A name that begins with OTEL_ is OpenTelemetry's."""
FUNCTIONS_VARIABLES = {"BILLING_URL"}


def known_variables(service: str) -> set[str]:
    """Return the variables that a service reads, by the code of its settings and of the library's."""
    fields = [*Settings.model_fields.values(), *SETTINGS[service].model_fields.values()]
    return {str(field.validation_alias) for field in fields}


def unknown(variables: set[str], service: str) -> set[str]:
    return {name for name in variables - known_variables(service) - OTHER_VARIABLES if not name.startswith("OTEL_")}


def variables(service: str, place: str) -> dict[str, Any]:
    """Return the variables of a service in the compose file, or on Cloud Run (with None for a secret)."""
    if place == "compose":
        return dict(files.compose()["services"][service]["environment"])
    return {entry["name"]: entry.get("value") for entry in files.container(service)["env"]}


def roles_of_terraform() -> dict[str, set[str]]:
    """Return account -> all roles that Terraform gives to it, wherever."""
    found = {name: set(roles) for name, roles in files.terraform_locals()["project_roles"].items()}
    for name, roles in files.terraform_locals()["self_roles"].items():
        found[name] |= set(roles)
    for block in files.terraform()["resource"]:
        for kind, named in block.items():
            for body in named.values():
                match = (
                    re.search(r'account\["(\w+)"\]', str(body.get("member", ""))) if kind.endswith("_member") else None
                )
                if match:
                    found[match[1]].add(body["role"])
    for service in files.SERVICES:  # `reader`, which is for each service.
        found[service].add(files.resource("google_secret_manager_secret_iam_member", "reader")["role"])
    return found


class TestAccounts:
    def test_the_accounts(self) -> None:
        """Terraform makes the five accounts of the table, and no others."""
        accounts = set(files.table_of_accounts())
        assert accounts == {"token", "user", "product", "billing", "delivery"}
        assert set(files.terraform_locals()["accounts"]) == accounts

    def test_the_roles(self) -> None:
        """Each account gets exactly the roles that the table names."""
        documented = {
            name: set(re.findall(r"`(roles/[\w.]+)`", text)) for name, text in files.table_of_accounts().items()
        }
        assert roles_of_terraform() == documented

    def test_only_one_account_can_sign(self) -> None:
        """The role to sign is on the account `token` itself, and nowhere on the project."""
        signer = "roles/iam.serviceAccountTokenCreator"
        given = files.terraform_locals()
        assert [name for name, roles in given["self_roles"].items() if signer in roles] == ["token"]
        assert [name for name, roles in given["project_roles"].items() if signer in roles] == []
        assert files.resource("google_service_account_iam_member", "self")["member"].endswith(
            "[each.value.name].member}"
        )

    def test_what_runs_as_which_account(self) -> None:
        """Services and functions name these accounts, and the policy has one of them for each service."""
        functions = (files.ROOT / "functions/main.py").read_text()
        accounts = set(files.terraform_locals()["accounts"])
        assert set(re.findall(r'"(\w+)@"', functions)) == {"token", "delivery"}
        policy = (files.ROOT / "functions/policy.toml").read_text()
        assert set(re.findall(r'"(\w+)@demo-shop', policy)) == accounts - {"token"}


class TestVariables:
    @pytest.mark.parametrize("place", ["compose", "cloudrun"])
    @pytest.mark.parametrize("service", files.SERVICES)
    def test_the_code_reads_each_variable(self, service: str, place: str) -> None:
        """A variable that is misspelt, or that the code has no longer, is found."""
        assert unknown(set(variables(service, place)), service) == set()

    def test_an_unknown_variable_would_be_found(self) -> None:
        """Product has no limit of log-ins, so it does not read this variable."""
        assert unknown({"TRUSTED_PROXIES", "DATABASE_URL", "OTEL_SERVICE_NAME"}, "product") == {"TRUSTED_PROXIES"}

    @pytest.mark.parametrize("service", files.SERVICES)
    def test_no_emulator_in_production(self, service: str) -> None:
        """No variable of an emulator is set on Cloud Run."""
        emulators = {AUTH_EMULATOR_VARIABLE, CLOUD_TASKS_EMULATOR_VARIABLE, *METADATA_VARIABLES}
        assert not emulators & set(variables(service, "cloudrun"))
        assert set(variables(service, "compose")) >= emulators

    @pytest.mark.parametrize("service", files.SERVICES)
    def test_the_settings_accept_the_values(self, service: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the values of the compose file, and with those of Cloud Run filled in, the settings are valid."""
        for place in ("compose", "cloudrun"):
            for name in known_variables(service):
                monkeypatch.delenv(name, raising=False)
            for name, value in variables(service, place).items():
                monkeypatch.setenv(name, filled_in(name, value))
            SETTINGS[service]()
            settings = Settings()
            assert settings.base_url is not None
            assert settings.nonce_secret is not None
            assert settings.mode == ("proof" if place == "compose" or service == "billing" else "fresh")

    @pytest.mark.parametrize("service", files.SERVICES)
    def test_both_places_set_the_same(self, service: str) -> None:
        """Except the API key, which the emulator ignores, and the path for Hosting, the compose file sets the same."""
        only_compose = {AUTH_EMULATOR_VARIABLE, *OTHER_VARIABLES, "MSTOKEN_MODE", "DELIVERY_PATIENCE_SECONDS"}
        cloud_run = set(variables(service, "cloudrun")) - {"MSTOKEN_API_KEY", "MSTOKEN_MODE", "ROOT_PATH"}
        compose = {name for name in variables(service, "compose") if not name.startswith("OTEL_")}
        assert compose - only_compose == cloud_run

    def test_the_functions(self) -> None:
        """Terraform writes the variables of the functions that docs/production.md lists."""
        text = str(files.resource("local_file", "functions")["content"])
        written = set(re.findall(r"([A-Z][A-Z_]+)=", text))
        section = files.PRODUCTION.partition("## The functions")[2].partition("\n## ")[0]
        assert written == set(re.findall(r"^    ([A-Z][A-Z_]+)=", section, re.MULTILINE))
        library = {str(field.validation_alias) for field in Settings.model_fields.values()}
        assert written <= library | FUNCTIONS_VARIABLES

    def test_the_secrets(self) -> None:
        """What docs/production.md says is a secret in an environment is one on Cloud Run, and nothing else is."""
        section = files.PRODUCTION.partition("## Secrets")[2].partition("\n## ")[0]
        rows = re.findall(r"^\| (`.*?) \| (yes|no)", section, re.MULTILINE)
        named = {name for text, answer in rows if answer == "yes" for name in re.findall(r"`([A-Z_]+)`", text)}
        named -= {STATUS_URL_VARIABLE}  # By default it is the Redis of spent ids, which the services share here.
        for service in files.SERVICES:
            assert {name for name, value in variables(service, "cloudrun").items() if value is None} == named


def filled_in(name: str, value: Any) -> str:
    """Return a value of a variable as a process gets it, with made-up names for what is filled in later."""
    secrets = {
        "DATABASE_URL": "postgresql+asyncpg://user:p4ss@10.9.0.3/user?ssl=require",
        "MSTOKEN_REPLAY_URL": "rediss://:p4ss@10.9.0.4:6378/0?ssl_ca_certs=/secrets/redis/ca.pem",
        "MSTOKEN_NONCE_SECRET": "x" * 48,
    }
    names = {"PROJECT": "real-shop", "PROJECT_NUMBER": "123456789", "REGION": "us-central1", "API_KEY": "AIza-example"}
    if value is None:
        return secrets[name]
    text = re.sub(r"\$\{(\w+)\}", lambda match: names[match[1]], str(value))
    return re.sub(r"\$\{\w+:-(.*?)\}", r"\1", text)


class TestPorts:
    @pytest.mark.parametrize("service", files.SERVICES)
    def test_one_port_everywhere(self, service: str) -> None:
        """A service has its port of services/README.md: on a laptop, in the compose file and on Cloud Run."""
        port = getattr(Ports(), service)
        compose, container = files.compose()["services"], files.container(service)
        assert container["ports"][0]["containerPort"] == port
        assert container["args"] == compose[service]["command"]
        assert container["args"] == ["--port", str(port), f"services.{service}.app:create_app"]
        assert compose[service]["environment"]["PORT"] == str(port)
        assert f"127.0.0.1:{port}:{port}" in compose["emulators"]["ports"]
        assert f"| {port} |" in (files.ROOT / "services/README.md").read_text()

    @pytest.mark.parametrize("service", files.SERVICES)
    def test_the_emulators(self, service: str) -> None:
        """The variables of the compose file name the ports on which the emulators listen."""
        ports, environment = Ports(), variables(service, "compose")
        assert environment[AUTH_EMULATOR_VARIABLE] == f"127.0.0.1:{ports.signed_auth}"
        assert environment[CLOUD_TASKS_EMULATOR_VARIABLE] == f"127.0.0.1:{ports.tasks}"
        metadata = f"127.0.0.1:{getattr(ports, f'metadata_{service}')}"
        assert {environment[name] for name in METADATA_VARIABLES} == {metadata}
        assert f"127.0.0.1:{ports.functions}/" in environment["MSTOKEN_TOKEN_SERVICE_URL"]
        started = exec_form(stages(files.DEPLOY / "docker/emulators.Dockerfile")[-1].last("ENTRYPOINT"))
        for name in (*files.SERVICES, "delivery"):
            assert f"{name}={getattr(ports, f'metadata_{name}')}" in started


class TestServer:
    def test_the_command_is_that_of_the_documentation(self) -> None:
        """The image starts uvicorn with the options that docs/production.md gives."""
        (lines,) = re.findall(r"^    uvicorn (--factory (?:.*\\\n)*.*)$", files.PRODUCTION, re.MULTILINE)
        documented = lines.replace("\\\n", " ").split()
        entry_point = exec_form(stages(files.DEPLOY / "docker/Dockerfile")[-1].last("ENTRYPOINT"))
        started = [*entry_point[3:], *files.container("billing")["args"]]
        assert sorted(started) == sorted("8003" if part == "$PORT" else part for part in documented)

    def test_the_proxies_that_are_trusted(self) -> None:
        """User counts the proxies that docs/production.md counts."""
        rows = dict(re.findall(r"^\| (.*?) \| (\d)", files.PRODUCTION, re.MULTILINE))
        assert variables("user", "cloudrun")["TRUSTED_PROXIES"] == rows["Cloud Run at its own URL"]
        assert variables("user", "compose")["TRUSTED_PROXIES"] == rows["directly"]

    def test_the_queue(self) -> None:
        """Billing, Terraform and the function name one queue."""
        queue = files.resource("google_cloud_tasks_queue", "deliver")
        region = files.terraform_locals()["functions_region"]
        assert queue["location"] == "${local.functions_region}"
        assert variables("billing", "cloudrun")["DELIVERY_QUEUE"] == f"locations/{region}/functions/{queue['name']}"
        assert (
            f"def {queue['name']}(request: https_fn.CallableRequest" in (files.ROOT / "functions/main.py").read_text()
        )

    @pytest.mark.parametrize("service", files.SERVICES)
    def test_hosting_finds_the_service(self, service: str) -> None:
        """Hosting passes a path on as it is, to the service of this name, in the region that is the default."""
        root_path = variables(service, "cloudrun")["ROOT_PATH"]
        rewrites = json.loads((files.ROOT / "firebase.json").read_text())["hosting"]["rewrites"]
        [target] = [rewrite["run"] for rewrite in rewrites if rewrite["source"] == f"{root_path}/**"]
        [region] = [block["region"]["default"] for block in files.terraform()["variable"] if "region" in block]
        assert target == {"serviceId": files.cloud_run(service)["metadata"]["name"], "region": region}

    def test_the_urls_of_the_functions(self) -> None:
        """Every service asks the same token service, character by character, which the functions are told too."""
        region = files.terraform_locals()["functions_region"]
        urls = {variables(service, "cloudrun")["MSTOKEN_TOKEN_SERVICE_URL"] for service in files.SERVICES}
        assert urls == {f"https://{region}-${{PROJECT}}.cloudfunctions.net/token"}
        assert (
            files.terraform_locals()["functions_url"]
            == "https://${local.functions_region}-${var.project}.cloudfunctions.net"
        )
