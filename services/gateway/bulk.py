"""Streams of questions: many over one call, each with an outcome of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from realm.access import principal
from realm.client.wire import to_status
from realm.errors import RealmError
from realm.process.redaction import for_callers
from realm.process.rpc import EXITS, incident, remaining
from realm.v1.answer_pb2 import Failure
from services.gateway.admission.limits import Limit
from services.gateway.waiting import Shutdown

#: Questions of one stream answered at once; the stream then stops reading.
STREAM_QUESTIONS = 64

#: From a request of a stream, the seconds left and the caller to the response.
Answer = Callable[[Any, float, str], Awaitable[Any]]


def caller_of(context: Any) -> str:
    """Whose requests take turns with those of others: a key's holder's, else a host's."""
    known = principal.caller()
    return str(context.peer()).rpartition(":")[0] if known is principal.ANYBODY else known.name


class QuestionStreams:
    """Streams of any kind; so many at a time."""

    def __init__(self, shutdown: Shutdown, most: int) -> None:
        self._shutdown = shutdown
        self._streams = Limit("streams of questions", most)

    async def run(self, requests: AsyncIterator[Any], context: Any, answer: Answer) -> None:
        """Writes responses in any order.

        :raises Overloaded: if there are too many streams already.
        """
        with self._streams.taken():
            await self._run(requests, context, answer)

    async def _run(self, requests: AsyncIterator[Any], context: Any, answer: Answer) -> None:
        places = asyncio.Semaphore(STREAM_QUESTIONS)
        writing = asyncio.Lock()
        caller = f"{caller_of(context)} in bulk"  # its single questions do not queue behind these

        async def one(request: Any) -> None:
            try:
                response = await answer(request, remaining(context), caller)
                async with writing:  # gRPC allows one write at a time
                    await context.write(response)
            finally:
                places.release()

        error: RealmError | None = None
        async with asyncio.TaskGroup() as tasks:
            try:
                async for request in self._shutdown.interrupt(requests):
                    await places.acquire()
                    tasks.create_task(one(request))
            except RealmError as raised:
                error = raised  # questions already begun are answered first
        if error is not None:
            raise error


async def outcome(answer: Awaitable[Any], method: str) -> Any:
    """The answer, or the error that this question alone gets."""
    try:
        return await answer
    except RealmError as error:
        return for_callers(error)
    except (asyncio.CancelledError, *EXITS):
        raise
    except BaseException as error:  # a panic of native code is no Exception
        return incident(error, method)


def failure_of(error: RealmError) -> Failure:
    """As a call for this question alone would have failed; the wire format is the same."""
    return Failure.FromString(to_status(error).SerializeToString())
