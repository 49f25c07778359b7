"""Answers that a language model writes, behind an API like OpenAI's: from passages that were found,
sentence by sentence, each citation checked against its passage before the reader sees it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import httpx2

from realm.errors import DeadlinePassed, DependencyUnavailable
from realm.settings.web import Web
from realm.text.citations import check_citations
from realm.v1.types_pb2 import Passage

INSTRUCTIONS = """Answer the user's question in a few sentences, from the passages below alone. End
each sentence with the numbers of the passages that say it, each in brackets: [1] or [1][3]. If the
passages do not answer the question, say only: {no_answer}"""
#: A sentence, with the citations behind it, once something else follows; or a line.
SENTENCE = re.compile(r"[.!?…][\"”')]*(?:\s?\[\d{1,4}\])*(?=\s+[^\s\[])|[。！？]|\n+")
DATA, DONE = "data:", "[DONE]"


class LanguageModel:
    """The one that the settings name; `name` is under which clients ask for it."""

    def __init__(self, settings: Web) -> None:
        self.name = f"realm/{settings.llm_model}"
        self._model = settings.llm_model
        headers = {"authorization": f"Bearer {settings.llm_key}"} if settings.llm_key else {}
        self._http = httpx2.AsyncClient(
            base_url=settings.llm_url.rstrip("/") + "/", headers=headers, timeout=None
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def answer(
        self,
        messages: Sequence[Any],
        passages: Sequence[Passage],
        no_answer: str,
        seconds: float,
        cited: list[int],
    ) -> AsyncIterator[str]:
        """Its sentences, with the citations that hold.

        :param messages: the conversation, as the client gave it.
        :param seconds: to the end of the answer.
        :param cited: gets the number of each passage that is cited.
        :raises DependencyUnavailable: if it does not answer, or not as that API does.
        :raises DeadlinePassed: if it takes longer.
        """
        texts = [f"{each.title}\n{each.text}" for each in passages]
        rules = INSTRUCTIONS.format(no_answer=no_answer)
        numbered = (f"[{number}] {text}" for number, text in enumerate(texts, 1))
        system = {"role": "system", "content": "\n\n".join([rules, *numbered])}
        try:
            async with asyncio.timeout(seconds), aclosing(self._said([system, *messages])) as said:
                async for sentence in sentences(said):
                    checked = check_citations(sentence, texts)
                    cited += (each for each in checked.cited if each not in cited)
                    yield checked.text
        except TimeoutError as error:
            raise DeadlinePassed("the language model did not end its answer in time") from error
        except httpx2.HTTPError as error:
            raise DependencyUnavailable("the language model cannot be reached") from error

    async def _said(self, messages: list[Any]) -> AsyncGenerator[str]:
        """Pieces of its answer, as they come."""
        body = {"model": self._model, "messages": messages, "stream": True}
        async with self._http.stream("POST", "chat/completions", json=body) as response:
            if response.status_code != 200:
                raise DependencyUnavailable(
                    f"the language model answered with HTTP {response.status_code}"
                )
            async for line in response.aiter_lines():
                data = line.removeprefix(DATA).strip()
                if line.startswith(DATA) and data == DONE:
                    return
                if line.startswith(DATA) and (piece := _content(data)):
                    yield piece


def _content(data: str) -> str:
    """:raises DependencyUnavailable: if it is no chunk of a chat completion."""
    try:
        choices = json.loads(data)["choices"]
        found = choices[0]["delta"].get("content") if choices else None
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise DependencyUnavailable(
            "the language model answered with no chat completion"
        ) from error
    return found if isinstance(found, str) else ""


async def sentences(pieces: AsyncIterator[str]) -> AsyncIterator[str]:
    """A text that comes in pieces, cut behind its sentences; together they are the text."""
    waiting = ""
    async for piece in pieces:
        waiting += piece
        ends = [0, *(found.end() for found in SENTENCE.finditer(waiting))]
        for begin, end in pairwise(ends):
            yield waiting[begin:end]
        waiting = waiting[ends[-1] :]
    if waiting:
        yield waiting
