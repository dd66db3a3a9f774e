"""The page Attacks: each row of the table of attacks as a button, and what happened to it."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from emulator.attacks.attacker import Attacker, AttackNotSent, Outcome
from emulator.attacks.checks import CHECKS
from emulator.attacks.table import GROUPS
from emulator.lab.board import EVERYTHING, Board
from emulator.lab.pages import Lab, Page
from emulator.lab.shown import show_request, show_text

PAGE = Page("/attacks", "Attacks")
EVERY_SECONDS = 0.2
"""How often a page gets the news of a run, in seconds."""


def router(lab: Lab) -> APIRouter:
    """Return the routes of this page."""
    board = Board(Attacker(lab.stack))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        with board.running():
            yield

    routes = APIRouter(lifespan=lifespan)

    @routes.get(PAGE.path, response_class=HTMLResponse)
    def page(request: Request) -> HTMLResponse:
        groups = {"controls": "Calls without a flaw", **GROUPS}
        rows = {group: [attack for attack in EVERYTHING if attack.group == group] for group in groups}
        context = {
            "groups": groups,
            "rows": rows,
            "checks": CHECKS,
            "score": board.score(),
            "outcomes": board.outcomes(),
            "running": board.is_running,
        }
        return lab.render(request, PAGE, "attacks.html", context)

    @routes.post(f"{PAGE.path}/try/{{attack}}", response_class=HTMLResponse)
    def try_one(request: Request, attack: str) -> HTMLResponse:
        if attack not in board.attacks:
            raise HTTPException(404)
        try:
            return _outcome(lab, request, board.try_one(attack))
        except AttackNotSent as error:
            context = {"title": "The attack was not sent", "text": str(error)}
            return lab.render(request, PAGE, "failure.html", context, status=502)

    @routes.get(f"{PAGE.path}/outcome/{{attack}}", response_class=HTMLResponse)
    def outcome(request: Request, attack: str) -> HTMLResponse:
        found = board.outcome(attack)
        if found is None:
            raise HTTPException(404)
        return _outcome(lab, request, found)

    @routes.post(f"{PAGE.path}/run", status_code=202)
    def run_all() -> Response:
        board.run_all()
        return Response(status_code=202)

    @routes.get(f"{PAGE.path}/events", response_class=EventSourceResponse)
    async def events() -> AsyncIterator[ServerSentEvent]:
        last = None
        async with aclosing(lab.ticks(EVERY_SECONDS)) as ticks:
            async for _ in ticks:
                news = _news(board)
                if news != last:
                    last = news
                    yield ServerSentEvent(event="board", data=news)

    return routes


def _outcome(lab: Lab, request: Request, outcome: Outcome) -> HTMLResponse:
    sent = b"".join(outcome.request.parts())
    answer = outcome.answer
    shown = show_text(f"{answer.head}\r\n\r\n{answer.body}".encode())
    context = {"outcome": outcome, "sent": show_request(sent), "answer": shown, "checks": CHECKS}
    return lab.render(request, PAGE, "attack_outcome.html", context)


def _news(board: Board) -> dict[str, Any]:
    """Return the state of all rows, and the score, for the script of the page."""
    score = board.score()
    return {
        "running": board.is_running,
        "done": board.done,
        "planned": board.planned,
        "failure": board.failure,
        "attacks": score.attacks,
        "refused": score.refused,
        "controls": score.controls,
        "kept": score.kept,
        "complete": score.is_complete,
        "checks": {str(check.number): number for check, number in score.by_check},
        "rows": {
            name: {
                "right": outcome.is_right,
                "answer": str(outcome.answer),
                "check": outcome.check.number if outcome.check else None,
                "by": outcome.check.name if outcome.check else "",
            }
            for name, outcome in board.outcomes().items()
        },
    }
