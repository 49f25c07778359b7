"""The interceptor that lets callers in, or not."""

from __future__ import annotations

import hmac
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

from realm.access.key_ring import KeyRing
from realm.access.methods import Needs, needs_of
from realm.access.principal import SERVE, Principal, bind_caller
from realm.client.credentials import AUTHORIZATION
from realm.errors import Unauthenticated
from realm.process.rpc import AroundInterceptor, Context, Handler
from realm.settings.access import Access

BEARER = "bearer "
UNARY = "unary"


class Authority(Protocol):
    """Knows callers by what they show."""

    async def authenticate(self, token: str) -> Principal:
        """:raises Unauthenticated: if it knows none such."""
        ...


class Callers:
    """Of a gateway: API keys, and tokens if there is an issuer of those."""

    def __init__(self, key_ring: KeyRing, tokens: Authority | None) -> None:
        self._key_ring = key_ring
        self._tokens = tokens

    async def authenticate(self, token: str) -> Principal:
        if self._tokens is not None and not self._key_ring.holds(token):
            return await self._tokens.authenticate(token)
        return await self._key_ring.authenticate(token)

    @classmethod
    def of(cls, access: Access, key_ring: KeyRing) -> Callers:
        """:raises BadSettings: if tokens cannot be checked safely."""
        if not access.oidc_issuer:
            return cls(key_ring, None)
        from realm.access.tokens import Tokens  # what gateways without an issuer do not need

        return cls(key_ring, Tokens(access))


class Services:
    """Of an indexer: gateways, by the secret that they share with it."""

    def __init__(self, service_key: str) -> None:
        self._key = service_key.encode()
        self._principal = Principal("a service", frozenset({SERVE}))

    async def authenticate(self, token: str) -> Principal:
        if not hmac.compare_digest(self._key, token.encode()):
            raise Unauthenticated("this is not the cluster's REALM_SERVICE_KEY")
        return self._principal


class AccessInterceptor(AroundInterceptor):
    """Refuses who may not call, before the request is parsed. Inside `ErrorInterceptor`.

    A stream asks again for each of its messages: it ends when the caller's key does.
    """

    parses = True

    def __init__(self, authority: Authority) -> None:
        super().__init__()
        self._authority = authority

    @asynccontextmanager
    async def around(self, method: str, kind: str, context: Context) -> AsyncIterator[None]:
        needs = needs_of(method)
        if needs is not None:
            bind_caller(await self._admitted(needs, method, context))
        yield

    async def _admitted(self, needs: Needs, method: str, context: Context) -> Principal:
        """:raises Unauthenticated, Forbidden:"""
        principal = await self._authority.authenticate(_token(context))
        principal.check(needs, method)
        return principal

    def _made(self, handler: Handler, method: str) -> Handler:
        return handler if needs_of(method) is None else super()._made(handler, method)

    def _wrap(
        self, behaviour: Callable[..., Any], method: str, kind: str, read: Callable[[Any], Any]
    ) -> Callable[..., Any]:
        once = super()._wrap(behaviour, method, kind, read)
        needs = needs_of(method)
        if kind == UNARY or needs is None:
            return once

        async def each(messages: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
            async for message in messages:
                await self._admitted(needs, method, context)
                yield message

        def given(request: Any, context: Context) -> Any:
            return each(request, context) if hasattr(request, "__aiter__") else request

        async def one(request: Any, context: Context) -> Any:
            return await once(given(request, context), context)

        async def many(request: Any, context: Context) -> AsyncIterator[Any]:
            async for response in each(once(given(request, context), context), context):
                yield response

        # A streaming method may also be a coroutine that calls context.write.
        return many if inspect.isasyncgenfunction(once) else one


def _token(context: Context) -> str:
    """:raises Unauthenticated: if the call shows none."""
    for name, value in context.invocation_metadata() or ():
        if name == AUTHORIZATION and isinstance(value, str) and value[:7].lower() == BEARER:
            return value[7:].strip()
    raise Unauthenticated(
        "this call shows no key: send `authorization: Bearer KEY`, or set REALM_API_KEY"
    )
