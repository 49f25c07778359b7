"""Around every request: whose call it is, its id, what it counts as, errors as JSON, and what a
browser may do with the answer."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from realm.errors import Forbidden, RealmError
from realm.loopback import is_loopback
from services.web import call
from services.web.call import Call
from services.web.errors import response, told
from services.web.metrics import WebMetrics

#: Pages take nothing from elsewhere, and nobody frames them.
BROWSER = {
    "content-security-policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}

log = structlog.get_logger(__name__)


class Calls:
    """The outermost layer."""

    def __init__(self, app: ASGIApp, metrics: WebMetrics, hosts: frozenset[str] | None) -> None:
        """:param hosts: the names, beside this machine's own, by which it may be called; None: any.
        Where nobody is asked for a key, a page of another site could otherwise call it under a
        name of its own that leads here.
        """
        self._app = app
        self._metrics = metrics
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, headers = time.perf_counter(), Headers(scope=scope)
        request = Call("")
        status = 499

        async def tell(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                MutableHeaders(scope=message).update(
                    {call.REQUEST_ID: request.request_id, **BROWSER}
                )
            await send(message)

        try:
            request = Call.of(headers)
            structlog.contextvars.bind_contextvars(request_id=request.request_id)
            call.current.set(request)
            self._check_host(headers.get("host", ""))
            await self._app(scope, receive, tell)
        except Exception as error:
            if status != 499:
                raise
            await response(told(error, scope["path"]))(scope, receive, tell)
        finally:
            self._count(scope, status, time.perf_counter() - began)

    def _check_host(self, host: str) -> None:
        if self._hosts is None or is_loopback(f"http://{host}"):
            return
        if host.rpartition(":")[0] not in self._hosts and host not in self._hosts:
            raise Forbidden(
                "nobody is asked for a key here, so this is answered under this machine's own"
                " names alone: REALM_WEB_HOSTS names others"
            )

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        labels = (scope["method"], scope.get("realm.route", "other"))
        self._metrics.requests.labels(*labels, str(status)).inc()
        self._metrics.seconds.labels(*labels).observe(seconds)
        log.debug("request_ended", path=scope["path"], status=status, seconds=round(seconds, 4))


def route(
    method: str,
    path: str,
    endpoint: Callable[[Request], Awaitable[Response]],
    body_of: Callable[[RealmError], Any] | None = None,
) -> Route:
    """Requests count under its path, and errors are told as JSON.

    :param body_of: what tells an error; None: a `google.rpc.Status`.
    """

    async def called(request: Request) -> Response:
        request.scope["realm.route"] = path
        try:
            return await endpoint(request)
        except Exception as error:
            found = told(error, path)
            return response(found, body_of(found) if body_of else None)

    return Route(path, called, methods=[method])
