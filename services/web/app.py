"""The routes: operations of the API, events, health, the OpenAPI document, the pages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from google.protobuf.message import Message
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from realm.client import AsyncClient
from services.web import call
from services.web.bodies import Bodies
from services.web.callers import unless_gone
from services.web.chat import Chat
from services.web.errors import response, told
from services.web.events import PATH as EVENTS
from services.web.events import Events
from services.web.mcp import PATH as MCP_PATH
from services.web.mcp import McpEndpoint
from services.web.messages import JSON, encoded, to_json
from services.web.middleware import route
from services.web.openapi import document
from services.web.operations import OPERATIONS, Operation

PAGE = Path(__file__).with_name("page")
#: So much JSON takes some milliseconds.
AT_ONCE_BYTES = 64 << 10
#: Who answered, for whoever reads no body.
VERSION_HEADERS = {
    "x-realm-generation": "generation",
    "x-realm-snapshot": "snapshot",
    "x-realm-corpus-version": "corpus_version",
}


P = ParamSpec("P")
T = TypeVar("T")


class Api:
    """The endpoints of `/v1`, for one client of a gateway."""

    def __init__(self, client: AsyncClient, events: Events, bodies: Bodies, seconds: float) -> None:
        """:param seconds: the deadline of a call whose caller leaves none."""
        self._client = client
        self._events = events
        self._bodies = bodies
        self._seconds = seconds

    def routes(self) -> list[Route]:
        return [
            route("GET", EVENTS, self.events),
            *(route(each.http, each.route, self.endpoint(each)) for each in OPERATIONS),
        ]

    def endpoint(self, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            if operation.body is None:
                return await self._answer(request, operation.message(request, b""))
            async with self._bodies.json(request, operation.most) as body:
                message = await unhurried(len(body), operation.message, request, body)
                return await self._answer(request, message)

        return endpoint

    async def events(self, request: Request) -> Response:
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        return StreamingResponse(
            await unless_gone(request, self._events.follow()),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    async def ask(self, request: Request, message: Message) -> Any:
        """The gateway's response, within the caller's deadline and while the caller is there."""
        seconds = call.current.get().seconds(self._seconds)
        return await unless_gone(request, self._client.call(message, timeout=seconds))

    async def _answer(self, request: Request, message: Message) -> Response:
        found = await self.ask(request, message)
        content = await unhurried(found.ByteSize(), to_json, found)
        return Response(content, headers=version_headers(found), media_type=JSON)


async def unhurried(size: int, work: Callable[P, T], *given: P.args, **more: P.kwargs) -> T:
    """What it gives; in a thread if it takes long, so that other requests go on."""
    if size <= AT_ONCE_BYTES:
        return work(*given, **more)
    return await asyncio.to_thread(work, *given, **more)


def version_headers(found: Any) -> dict[str, str]:
    """Of what answered, or of the write that was acknowledged."""
    fields = found.DESCRIPTOR.fields_by_name
    version = found.index_version if "index_version" in fields else found
    known = version.DESCRIPTOR.fields_by_name
    given = {
        header: str(getattr(version, field))
        for header, field in VERSION_HEADERS.items()
        if field in known and known[field].message_type is None
    }
    return {"cache-control": "no-store", **given}


def make_app(api: Api, chat: Chat, mcp: McpEndpoint, is_ready: Callable[[], bool]) -> Starlette:
    described = encoded(document())

    async def openapi(_request: Request) -> Response:
        return Response(described, media_type=JSON)

    async def live(_request: Request) -> Response:
        return Response(encoded({"live": True}), media_type=JSON)

    async def ready(_request: Request) -> Response:
        found = is_ready()
        return Response(encoded({"ready": found}), 200 if found else 503, media_type=JSON)

    app = Starlette(
        routes=[
            *api.routes(),
            *chat.routes(),
            Route(MCP_PATH, mcp, methods=["POST"]),
            route("GET", "/openapi.json", openapi),
            route("GET", "/livez", live),
            route("GET", "/readyz", ready),
            route("GET", "/", shown("index.html")),
            route("GET", "/docs", shown("docs/index.html")),
            Mount("/page", StaticFiles(directory=PAGE)),
        ],
        exception_handlers={HTTPException: _failed},
        lifespan=lambda _app: mcp.running(),
    )
    app.router.redirect_slashes = False
    return app


def shown(file: str) -> Callable[[Request], Awaitable[Response]]:
    """A page."""

    async def endpoint(_request: Request) -> Response:
        return FileResponse(PAGE / file)

    return endpoint


async def _failed(request: Request, error: Exception) -> Response:
    return response(told(error, request.url.path))
