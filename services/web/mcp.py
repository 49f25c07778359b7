"""The tools of language models over streamable HTTP: each request is for itself, no session is
kept, so any replica answers it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import Receive, Scope, Send

from realm.client import AsyncClient
from realm.errors import Unauthenticated
from realm.mcp.server import make_server
from realm.process.redaction import for_callers
from services.web import call
from services.web.bodies import QUESTION_BYTES
from services.web.errors import response

PATH = "/mcp"


class McpEndpoint:
    """ASGI, for POST alone. A tool calls the gateway with the key of its request."""

    def __init__(self, client: AsyncClient, *, require_keys: bool) -> None:
        self._server = make_server(client, for_callers)
        self._require_keys = require_keys
        self._app = self._server.streamable_http_app(
            streamable_http_path=PATH,
            stateless_http=True,
            json_response=True,
            max_request_body_size=QUESTION_BYTES,
            # Every request's host is checked already.
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        )

    def running(self) -> AbstractAsyncContextManager[None]:
        """It answers within."""
        return self._server.session_manager.run()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["realm.route"] = PATH
        if self._require_keys and not call.key():
            refused = Unauthenticated("give a key as `Authorization: Bearer KEY`")
            await response(refused)(scope, receive, send)
        else:
            await self._app(scope, receive, send)
