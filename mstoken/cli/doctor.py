"""`mstoken doctor`: what is wrong here, and what to do about it."""

import os
import time
from collections.abc import Iterator
from typing import Annotated

import httpx
import typer
from rich.text import Text

from mstoken.cli import checks
from mstoken.cli.checks import Finding
from mstoken.cli.failures import NO
from mstoken.cli.output import JsonOption, note, show_json, show_table
from mstoken.cli.services import valid_name
from mstoken.errors import SettingsError
from mstoken.settings import Settings

TIMEOUT_SECONDS = 10.0
STYLES = {"ok": "green", "warning": "yellow", "fault": "red"}


def doctor(
    context: typer.Context,
    service: Annotated[
        str,
        typer.Option(metavar="NAME", envvar="MSTOKEN_SERVICE", callback=valid_name, help="As which service to look."),
    ] = "doctor",
    as_json: JsonOption = False,
) -> None:
    """Look for what is wrong here, and say what to do about it.

    Run it where the service runs, in the same environment. 0 if there is no fault, 1 if there is one; a warning is
    none. It signs nobody in, and spends nothing but an id of its own making.
    """
    transport = context.obj if isinstance(context.obj, httpx.BaseTransport) else None
    with httpx.Client(transport=transport, timeout=TIMEOUT_SECONDS) as client:
        findings = list(examined(service, client))
    if as_json:
        described = [{"name": one.name, "state": one.state, "says": one.says, "do": one.do} for one in findings]
        show_json({"ok": not _faulty(findings), "checks": described})
    else:
        _show(findings)
    if _faulty(findings):
        raise typer.Exit(NO)


def examined(service: str, client: httpx.Client) -> Iterator[Finding]:
    """What each check finds; `client` is for what is asked for over the network."""
    error, settings = None, None
    try:
        settings = Settings()
    except SettingsError as caught:
        error = caught
    yield checks.settings_finding(error)
    yield checks.check_emulator(os.environ)
    if settings is None:
        note("The other checks need settings that can be read.")
        return
    certificates, published = checks.check_certificates(settings, client, time.time)
    yield certificates
    yield checks.check_clock(published)
    yield checks.check_replay_store(settings, service)
    yield checks.check_api_key(settings, client)
    yield checks.check_token_service(settings, client)
    yield checks.check_credential(settings, service, os.environ)
    yield checks.check_base_url(settings)


def _faulty(findings: list[Finding]) -> bool:
    return any(finding.state == "fault" for finding in findings)


def _show(findings: list[Finding]) -> None:
    """What to do stands below what is so."""
    show_table(
        ("CHECK", "STATE", "FINDING"),
        (
            (one.name, Text(one.state, style=STYLES[one.state]), f"{one.says}\n-> {one.do}" if one.do else one.says)
            for one in findings
        ),
    )
