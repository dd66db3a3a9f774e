"""A network on which each answer of a service is compared with the service's OpenAPI document."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from jsonschema import Draft202012Validator
from typing_extensions import override

SERVICES = Path(__file__).parents[2] / "services"
_NAME = re.compile(r"\{[^}]+\}")


class DocumentedTransport(httpx.ASGITransport):
    """Sends requests to an app. The answer must have a status, a media type and members that its document has.

    A member that the document does not have is a leak, although JSON Schema allows it. Only the apps of the services
    have documents. Paths that are not documented, and methods that a path does not have, are not compared.
    """

    def __init__(self, app: FastAPI) -> None:
        super().__init__(app=app)
        self._title = app.title

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await super().handle_async_request(request)
        responses = _responses(self._title, request.method, request.url.path)
        if responses is not None:
            await answer.aread()
            check(self._title, responses, answer)
        return answer


def check(title: str, responses: dict[str, Any], answer: httpx.Response) -> None:
    """Raise AssertionError if an answer is not one of these `responses` of the document of the service `title`."""
    assert str(answer.status_code) in responses, f"the status {answer.status_code} is not documented"
    content: dict[str, Any] = responses[str(answer.status_code)].get("content", {})
    if not content:
        assert answer.content == b"", "a body is not documented"
        return
    media_type = answer.headers["Content-Type"].partition(";")[0]
    assert media_type in content, f"{media_type} is not documented"
    if media_type.endswith("json"):
        schema = {**closed(content[media_type]["schema"]), "components": closed(_document(title)["components"])}
        errors = [error.message for error in Draft202012Validator(schema).iter_errors(answer.json())]
        assert errors == []


def closed(schema: Any) -> Any:
    """Return a JSON schema in which objects have no members but those that it names, unless it says otherwise."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        return {"additionalProperties": False, **inner}
    return inner


@cache
def _document(title: str) -> dict[str, Any]:
    path = SERVICES / title.lower() / "openapi.json"
    document: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {"paths": {}}
    return document


@cache
def _patterns(title: str) -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    paths = sorted(_document(title)["paths"].items(), key=lambda path: "{" in path[0])
    return [(re.compile(_NAME.sub("[^/]+", path)), operations) for path, operations in paths]


def _responses(title: str, method: str, path: str) -> dict[str, Any] | None:
    for pattern, operations in _patterns(title):
        if pattern.fullmatch(path) and method.lower() in operations:
            responses: dict[str, Any] = operations[method.lower()]["responses"]
            return responses
    return None
