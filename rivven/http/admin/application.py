"""The rows of the Admin API as a FastAPI application: routing, shapes of requests and answers, the document.

Imported on a thread once Kafka clients are served: the framework takes a third of a second and 7 MB. It
decides nothing: `hygiene` stands before it, and `guard` is asked before a body is read.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import Body, FastAPI, Query
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from rivven.http.admin.document import ERRORS, PATH, OpenApiDocument
from rivven.http.admin.guard import Guard
from rivven.http.admin.hygiene import AsgiApplication, Hygiene, Message, read_body, require_json
from rivven.http.admin.peer import peer_in
from rivven.http.admin.problems import MEDIA_TYPE, Problem, from_validation, unexpected
from rivven.http.admin.routes import UNSAFE, Call, Media, Open, Raw, Route

Handle = Callable[[Request], Coroutine[Any, Any, Response]]


def build_application(
    rows: Sequence[Route], guard: Guard, document: OpenApiDocument, names: Collection[str], version: str
) -> AsgiApplication:
    """The ASGI application that serves `rows` to callers that use one of the host `names`."""
    app = FastAPI(
        title="Rivven Admin API",
        version=version,
        description="What the Kafka protocol has no API for.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={HTTPException: _routing_failed(rows)},
    )
    for row in rows:
        app.router.add_api_route(
            row.path,
            _endpoint(row, guard),
            methods=[row.method],
            summary=row.summary,
            description=f"Needs: {row.permission}.",
            operation_id=_operation_id(row),
            response_model=None if isinstance(row.response, Media) else row.response,
            status_code=row.status,
            responses=dict(ERRORS),
            route_class_override=_guarded(row, guard),
        )
    document.complete(app.openapi(), rows)
    probes = [row.path for row in rows if isinstance(row.permission, Open)]
    return Hygiene(app, names, probes)


def _guarded(row: Route, guard: Guard) -> type[APIRoute]:
    """FastAPI's route with the guard before it: it runs before any parameter or body is looked at."""

    class Guarded(APIRoute):
        def get_route_handler(self) -> Handle:
            serve = super().get_route_handler()

            async def handle(request: Request) -> Response:
                try:
                    request.state.call = await _admitted(row, guard, request)
                    if row.method in UNSAFE:
                        request = await _with_body(row, request)
                    answer = await serve(request)
                except Problem as problem:
                    return problem_response(problem)
                except RequestValidationError as error:
                    return problem_response(from_validation(error.errors()))
                answer.headers["x-request-id"] = request.state.call.request_id
                return answer

            return handle

    return Guarded


async def _admitted(row: Route, guard: Guard, request: Request) -> Call:
    headers = request.headers
    if row.method in UNSAFE:
        require_json(headers.getlist("content-type"), headers.getlist("content-encoding"))
    try:
        parameters = {name: unquote(value, errors="strict") for name, value in request.path_params.items()}
    except UnicodeDecodeError:
        raise Problem(400, "a name in the path is not UTF-8") from None
    return await guard.admit(
        row,
        peer_in(request.scope),
        parameters,
        headers.getlist("authorization"),
        headers.get("user-agent", ""),
    )


async def _with_body(row: Route, request: Request) -> Request:
    """The request with its body read; the framework would turn our problems into its own."""
    body = await read_body(request.receive)
    if row.request is None and body.strip() not in (b"", b"{}"):
        raise Problem(422, "this route takes no body")

    async def replay() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(request.scope, replay)


def _endpoint(row: Route, guard: Guard) -> Callable[..., Any]:
    """The function FastAPI calls; its signature is what the row says it takes."""

    async def endpoint(request: Request, **given: Any) -> Any:
        call: Call = request.state.call
        call.query, call.body = given.get("query"), given.get("body")
        answer = await guard.perform(row, call)
        if isinstance(answer, Raw):
            assert isinstance(row.response, Media)
            headers = {"content-type": row.response.content_type}
            return Response(answer.body, status_code=answer.status, headers=headers)
        if answer is None:
            return Response(status_code=row.status)
        return answer

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("request", keyword, annotation=Request)]
    parameters += [
        inspect.Parameter(name, keyword, annotation=Annotated[str, PathParameter()])
        for name in row.parameters
    ]
    if row.query is not None:
        parameters.append(inspect.Parameter("query", keyword, annotation=Annotated[row.query, Query()]))
    if row.request is not None:
        parameters.append(inspect.Parameter("body", keyword, annotation=Annotated[row.request, Body()]))
    endpoint.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return endpoint


def _operation_id(row: Route) -> str:
    words = [word.strip("{}").replace(".", "-") for word in row.path.split("/") if word not in ("", "v1")]
    return "-".join([row.method.lower(), *words])


def problem_response(problem: Problem) -> Response:
    """A problem as the framework's response."""
    response = Response(problem.body(), status_code=problem.status, media_type=MEDIA_TYPE)
    for name, value in problem.headers:
        response.headers.append(name, value)
    return response


def _routing_failed(rows: Sequence[Route]) -> Callable[[Request, Exception], Coroutine[Any, Any, Response]]:
    """What the framework itself refuses: no such path, no such method, a body it cannot parse."""
    paths = [(re.compile(re.sub(r"\{\w+\}", "[^/]+", row.path)), row.method) for row in rows]
    details = {404: f"there is no such page; {PATH} lists them", 400: "the body is not JSON"}

    async def failed(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path = request.scope["path"]
        if error.status_code == 405:
            methods = {method for pattern, method in paths if pattern.fullmatch(path)}
            allow = [("Allow", ", ".join(sorted(methods)))]
            return problem_response(Problem(405, "not with this method", headers=allow))
        if error.status_code in details:
            return problem_response(Problem(error.status_code, details[error.status_code]))
        return problem_response(unexpected())

    return failed
