"""`mstoken doctor`: check the setup of a service, and say what to do about each error."""

import os
import time
from collections.abc import Iterator
from typing import Annotated

import httpx
import typer
from rich.text import Text

from mstoken.cli import certificate_checks, checks, credential_checks, emulator_checks, replay_checks
from mstoken.cli.checks import Finding
from mstoken.cli.errors import FAILED
from mstoken.cli.options import JsonOption, valid_service_name
from mstoken.cli.output import note, show_json, show_table
from mstoken.errors import SettingsError
from mstoken.settings import Settings

TIMEOUT_SECONDS = 10.0
NEAR_TIMEOUT_SECONDS = 3.0
"""The time-out for servers on this machine, and for the metadata server of its platform, in seconds."""
STYLES = {"ok": "green", "warning": "yellow", "error": "red"}


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
    as_json: JsonOption = False,
) -> None:
    """Check the setup of a service, and say what to correct.

    Run it where the service runs, in the same environment. The exit status is 1 if there is an error, and 0 if there
    are only warnings. It does not sign in. It spends one random id, to check the replay store.
    """
    transport = context.obj if isinstance(context.obj, httpx.BaseTransport) else None
    with (
        httpx.Client(transport=transport, timeout=TIMEOUT_SECONDS) as client,
        httpx.Client(transport=transport, timeout=NEAR_TIMEOUT_SECONDS, trust_env=False) as near,
    ):
        findings = list(run_checks(service, client, near))
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
    yield checks.check_api_key(settings, client)
    yield checks.check_token_service(settings, client)
    credentials = credential_checks.find_google_credentials(os.environ, near, project=settings.project_id)
    yield credential_checks.check_credential(settings, service, credentials)
    yield credential_checks.check_google_credentials(settings, credentials)
    yield checks.check_base_url(settings)


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
