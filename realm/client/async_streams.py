"""Questions from an asynchronous source: as `QuestionStream`, read by a task of its own.

The task outlives the rounds: one that ends while a question is awaited must not take the caller's
iterator with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

from realm.client import arguments
from realm.client.streams import Kind, One, QuestionStream


class AsyncQuestionStream(QuestionStream[One]):
    """For one event loop."""

    def __init__(
        self,
        kind: Kind[One],
        questions: AsyncIterable[str],
        shared: Any,
        seconds: float | None,
    ) -> None:
        super().__init__(kind, iter(()), shared, seconds)
        self._questions = questions
        self._wanted = asyncio.Event()
        self._news = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._reader = asyncio.create_task(self._read_all(), name="questions")

    def close(self) -> None:
        super().close()
        self._news.set()
        if self._reader is not None:
            self._reader.cancel()

    def _requests(self, round_: int) -> Any:
        return self._requests_of(round_)

    async def _requests_of(self, round_: int) -> AsyncIterator[Any]:
        self._news.set()  # the round before ends
        while round_ == self._round:
            if self._waiting:
                yield self._request(self._take())
            elif self._over:
                return
            else:
                self._news.clear()
                self._wanted.set()
                await self._news.wait()

    async def _read_all(self) -> None:
        """A question whenever one is wanted."""
        fault: BaseException | None = None
        try:
            await self._wanted.wait()
            number = 0
            async for question in self._questions:
                self._accept(arguments.text(f"questions[{number}]", question), None)
                number += 1
                self._wanted.clear()
                self._news.set()
                await self._wanted.wait()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # its caller hears of it after the answers
            fault = error
        self._accept(None, fault)
        self._news.set()
