"""`mstoken doctor`: check the setup of a service, and say what to do about each error."""

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

import httpx
import typer
from rich.text import Text

from mstoken.cli import (
    certificate_checks,
    checks,
    credential_checks,
    emulator_checks,
    production_checks,
    replay_checks,
    role_checks,
    status_checks,
)
from mstoken.cli.checks import Finding
from mstoken.cli.credential_checks import GoogleCredentials
from mstoken.cli.errors import FAILED
from mstoken.cli.options import JsonOption, valid_service_name
from mstoken.cli.output import note, show_json, show_table
from mstoken.cli.role_checks import GoogleAbilities, MakeAbilities
from mstoken.errors import SettingsError
from mstoken.settings import Settings

TIMEOUT_SECONDS = 10.0
NEAR_TIMEOUT_SECONDS = 3.0
"""The time-out for servers on this machine, and for the metadata server of its platform, in seconds."""
STYLES = {"ok": "green", "warning": "yellow", "error": "red"}


@dataclass(frozen=True, slots=True)
class Outside:
    """What the command reaches outside this process. `transport` replaces the network."""

    transport: httpx.BaseTransport | None = None
    make_abilities: MakeAbilities = GoogleAbilities


def doctor(
    context: typer.Context,
    service: Annotated[
        str,
        typer.Option(
            metavar="SERVICE",
            envvar="MSTOKEN_SERVICE",
            callback=valid_service_name,
            help="The service to check.",
            show_default=False,
        ),
    ] = "doctor",
    production: Annotated[
        bool,
        typer.Option("--production", help="Check what production needs besides, and take some warnings for errors."),
    ] = False,
    same_as: Annotated[
        str | None,
        typer.Option(
            metavar="FINGERPRINT",
            help="With --production: the fingerprint of the nonce secret that another process of the service printed.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check the setup of a service, and say what to correct.

    Run it where the service runs, in the same environment. The exit status is 1 if there is an error, and 0 if there
    are only warnings. It does not sign in. It spends one random id, to check the replay store. With --production it
    also looks up the service's identity, and tries what the service must not be able to do.
    """
    outside = context.obj if isinstance(context.obj, Outside) else Outside()
    if isinstance(context.obj, httpx.BaseTransport):
        outside = Outside(context.obj)
    with (
        httpx.Client(transport=outside.transport, timeout=TIMEOUT_SECONDS) as client,
        httpx.Client(transport=outside.transport, timeout=NEAR_TIMEOUT_SECONDS, trust_env=False) as near,
    ):
        found = run_checks(service, client, near)
        if production or same_as is not None:
            found = run_production_checks(service, client, near, found, outside.make_abilities, same_as)
        findings = list(found)
    has_errors = any(finding.state == "error" for finding in findings)
    if as_json:
        described = [
            {"name": finding.name, "state": finding.state, "text": finding.text, "advice": finding.advice}
            for finding in findings
        ]
        show_json({"ok": not has_errors, "checks": described})
    else:
        _show(findings)
    if has_errors:
        raise typer.Exit(FAILED)


def run_checks(service: str, client: httpx.Client, near: httpx.Client) -> Iterator[Finding]:
    """Run every check, and yield what it finds.

    `client` makes the requests to Google, `near` those to this machine and to its metadata server, without a proxy.
    """
    error, settings = None, None
    try:
        settings = Settings()
    except SettingsError as caught:
        error = caught
    yield checks.settings_finding(error)
    emulator = emulator_checks.check_emulator(os.environ)
    if settings is not None and settings.emulator_host and emulator.state == "ok":
        emulator = emulator_checks.check_emulator_address(settings, near)
    yield emulator
    if settings is None:
        note("The other checks need valid settings, so they were skipped.")
        return
    if settings.emulator_host:
        client = near  # All servers are on this machine.
    certificates, published = certificate_checks.check_certificates(settings, client, time.time)
    yield certificates
    yield certificate_checks.check_clock(published)
    yield replay_checks.check_replay_store(settings, service)
    if (shared := status_checks.check_shared_status(settings)) is not None:
        yield shared
    yield checks.check_api_key(settings, client)
    yield checks.check_token_service(settings, client)
    credentials = credential_checks.find_google_credentials(os.environ, near, project=settings.project_id)
    yield credential_checks.check_credential(settings, service, credentials)
    yield credential_checks.check_google_credentials(settings, credentials)
    yield checks.check_base_url(settings)


def run_production_checks(
    service: str,
    client: httpx.Client,
    near: httpx.Client,
    others: Iterator[Finding],
    make_abilities: MakeAbilities,
    same_as: str | None,
    environment: Mapping[str, str] = os.environ,
) -> Iterator[Finding]:
    """Yield the findings of the other checks as production takes them, and then those of production's own checks."""
    yield from map(production_checks.strict, others)
    yield production_checks.check_emulator_variables(environment)
    yield production_checks.check_http_parser(environment)
    try:
        settings = Settings()
    except SettingsError:
        return  # The first finding has said so.
    if settings.emulator_host:
        note("The checks of roles need a project in production, so they were skipped.")
        return
    credentials = credential_checks.find_google_credentials(environment, near, project=settings.project_id)
    yield production_checks.check_project(settings, credentials, near)
    yield production_checks.check_account(credentials)
    yield from _roles(settings, service, credentials, client, make_abilities)
    yield production_checks.check_store_is_shared(settings, environment)
    yield production_checks.check_nonce_secret(settings, same_as)
    yield production_checks.check_base_url_answers(settings, client)
    yield production_checks.check_forwarded_addresses(settings, environment)


def _roles(
    settings: Settings,
    service: str,
    credentials: GoogleCredentials | None,
    client: httpx.Client,
    make_abilities: MakeAbilities,
) -> Iterator[Finding]:
    """Yield what fails for this process. Without Google's credentials, nothing can be tried but its own key."""
    abilities = make_abilities(settings, service)
    if credentials is not None:
        yield role_checks.check_look_up(settings, service, abilities)
        yield role_checks.check_cannot_sign(settings, service, abilities)
    yield role_checks.check_policy(settings, service, abilities, client)


def _show(findings: list[Finding]) -> None:
    """Print a table, with the advice on a line of its own."""
    show_table(
        ("CHECK", "STATE", "FINDING"),
        (
            (
                finding.name,
                Text(finding.state, style=STYLES[finding.state]),
                f"{finding.text}\n-> {finding.advice}" if finding.advice else finding.text,
            )
            for finding in findings
        ),
    )
