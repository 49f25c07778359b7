"""Calls of any method, over any channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf import message_factory

from bench.fuzz.requests import methods
from realm.client.credentials import bearer
from realm.client.wire import WRITE_FAILED, from_rpc_error
from realm.errors import RealmError

SECONDS = 20.0
TRIES = 20
#: By path.
METHODS = methods()
PUBLIC = [method for method in METHODS if method.startswith("/realm.v1.")]


async def exchange(
    channel: grpc.aio.Channel, method: str, key: str = "", request: Any = None
) -> tuple[RealmError | None, list[Any]]:
    """How a call ends (None: well), and its responses; of a stream that goes on, the first.

    gRPC's asyncio calls can lose the status of a stream that is refused while they write to it
    (grpc/grpc#36066): those are made again.
    """
    for _ in range(TRIES):
        responses: list[Any] = []
        try:
            await _call(channel, method, key, request, responses)
        except grpc.aio.AioRpcError as error:
            if error.details() != WRITE_FAILED:
                return from_rpc_error(error), responses
        else:
            return None, responses
    raise AssertionError(f"{method} lost its status {TRIES} times")


async def _call(
    channel: grpc.aio.Channel, method: str, key: str, request: Any, responses: list[Any]
) -> None:
    found = METHODS[method]
    kinds: dict[tuple[bool, bool], Callable[..., Any]] = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }
    kind = kinds[found.client_streaming, found.server_streaming]
    response = message_factory.GetMessageClass(found.output_type)
    data = b"" if request is None else request.SerializeToString()
    call = kind(method, response_deserializer=response.FromString)(
        iter([data]) if found.client_streaming else data,
        timeout=SECONDS,
        metadata=bearer(key),
    )
    if not found.server_streaming:
        responses.append(await call)
        return
    async for each in call:
        responses.append(each)
        if not found.client_streaming:
            return
