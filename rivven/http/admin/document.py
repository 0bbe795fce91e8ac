"""The OpenAPI document of the Admin API, completed with what the framework cannot know: how to log in, what
each route needs, and the one shape of every error.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rivven.http.admin.problems import MEDIA_TYPE, ProblemDocument
from rivven.http.admin.routes import UNSAFE, Call, Media, Open, Raw, Route, Self_

PATH = "/openapi.json"

ERRORS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A problem document (RFC 9457)",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
    }
}
"""The answer of every route to everything that is not its success."""

_SCHEMES = {
    "basic": {"type": "http", "scheme": "basic"},
    "bearer": {"type": "http", "scheme": "bearer"},
    "certificate": {"type": "mutualTLS"},
}


class OpenApiDocument:
    """Holds the document once the application that it describes is built."""

    def __init__(self) -> None:
        self._text = b""

    def complete(self, document: dict[str, Any], routes: Sequence[Route]) -> None:
        """Take the framework's document and add what rows state."""
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schema = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        schemas["ProblemDocument"] = schema
        document["components"]["securitySchemes"] = _SCHEMES
        for route in routes:
            operation = document["paths"][route.path][route.method.lower()]
            operation["x-rivven-permission"] = str(route.permission)
            logged_in: list[dict[str, list[str]]] = [{name: []} for name in _SCHEMES]
            operation["security"] = [] if isinstance(route.permission, Open) else logged_in
            if route.method in UNSAFE:
                operation["x-rivven-audited"] = route.audited
            if isinstance(route.response, Media):
                answer = operation["responses"][str(route.status)]
                answer["content"] = {route.response.content_type: {"schema": {"type": "string"}}}
        self._text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()

    def routes(self) -> list[Route]:
        """The row that serves it."""

        async def serve(_call: Call) -> Raw:
            return Raw(self._text)

        why = Self_("it says what the source code says")
        return [Route("GET", PATH, why, serve, "This document", Media("application/json"))]
