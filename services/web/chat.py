"""Questions in the form of OpenAI's chat completions: an answer with its sources cited.

Whoever has a client of that API can so ask this corpus: `base_url` is this service's address with
/v1. The model `realm` is the reader: the user's last message is the question, and what came before
it is not read. Where the settings name a language model, `realm/NAME` has it answer, from passages
found for that question, in a conversation that it reads whole.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from realm.client.requests import ask_request, search_request
from realm.errors import InvalidInput, NotFound, RealmError
from realm.text.citations import MARK
from realm.v1.answer_pb2 import Answer, AnswerQuestionResponse, Source
from realm.v1.types_pb2 import IndexVersion, Passage
from services.web import call
from services.web.bodies import QUESTION_BYTES, Bodies
from services.web.callers import unless_gone
from services.web.errors import http_status, told
from services.web.generation import LanguageModel
from services.web.messages import JSON, encoded
from services.web.middleware import route

COMPLETIONS, MODELS = "/v1/chat/completions", "/v1/models"
MODEL = "realm"
#: For a language model to answer from.
PASSAGES = 5
#: Of a source, around what was read in it.
EXCERPT = 160
LINE, BLANK = "\n", "\n\n"
NO_ANSWER = "The passages do not answer this."
#: When this process began: the model has no other date, as what is live changes.
CREATED = int(time.time())


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks; what else it sends has no meaning here."""

    model: str
    question: str
    messages: list[Any]
    where: Any
    streamed: bool


@dataclass(frozen=True, slots=True)
class Completion:
    """What to say: `parts` together are the content, and `citations`, whole once these have ended,
    point into it."""

    parts: list[str]
    citations: list[dict[str, Any]]
    fingerprint: str


def asked(body: bytes, models: Sequence[str]) -> Asked:
    """:raises InvalidInput: if there is no question in it.
    :raises NotFound: if it names another model.
    """
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("the body is no JSON") from error
    if not isinstance(given, dict):
        raise InvalidInput("the body is no object")
    if (model := str(given.get("model"))) not in models:
        raise NotFound(f"there is no such model: ask {' or '.join(models)}", field="model")
    if given.get("n") not in (None, 1):
        raise InvalidInput("n is not 1: there is one answer", field="n")
    messages = given.get("messages")
    messages = messages if isinstance(messages, list) else []
    where = given.get("where") or None
    return Asked(model, _question(messages), messages, where, bool(given.get("stream")))


def _question(messages: list[Any]) -> str:
    """The text of the user's last message."""
    for message in reversed(messages):
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            parts = content if isinstance(content, list) else [{"text": content}]
            texts = [each.get("text") for each in parts if isinstance(each, dict)]
            return "\n".join(each for each in texts if isinstance(each, str))
    raise InvalidInput("messages holds no message of the user", field="messages")


def completion(found: AnswerQuestionResponse, documents: str) -> Completion:
    """:param documents: the URL under which documents are."""
    fingerprint = _fingerprint(found.index_version)
    if not found.answers:
        return Completion([NO_ANSWER], [], fingerprint)
    answer = found.answers[0]
    parts = [answer.text]
    citations: list[dict[str, Any]] = []
    length = len(answer.text)
    for number, source in enumerate(answer.sources, 1):
        mark = f" [{number}]"
        parts.append(mark)
        citations.append(_citation(source.passage, documents, length + 1, length + len(mark)))
        length += len(mark)
    for number, source in enumerate(answer.sources, 1):
        parts.append(f"{BLANK if number == 1 else LINE}[{number}] {_described(answer, source)}")
    return Completion(parts, citations, fingerprint)


def _fingerprint(version: IndexVersion) -> str:
    return f"generation-{version.generation}"


def _citation(passage: Passage, documents: str, start: int, end: int) -> dict[str, Any]:
    return {
        "type": "url_citation",
        "url_citation": {
            "url": documents + quote(passage.document_id, safe=""),
            "title": passage.title or passage.document_id,
            "start_index": start,
            "end_index": end,
        },
    }


def _place(passage: Passage) -> tuple[str, str]:
    """Its title, and where it stands: to be closed by a bracket."""
    name = f"{passage.title} " if passage.title else ""
    return name, f"({passage.document_id}, version {passage.document_version}"


def _described(answer: Answer, source: Source) -> str:
    passage = source.passage
    name, place = _place(passage)
    if answer.stored:
        return f"{name}{place}): {' '.join(passage.text.split())}"
    begin, end = source.start - passage.start, source.end - passage.start
    before, after = passage.text[:begin], passage.text[end:]
    words = f"{before[-EXCERPT:]}**{passage.text[begin:end]}**{after[:EXCERPT]}"
    cut = ("… " if len(before) > EXCERPT else "", " …" if len(after) > EXCERPT else "")
    where = f"{place}, {source.start}–{source.end})"
    return f"{name}{where}: {cut[0]}{' '.join(words.split())}{cut[1]}"


def _described_operation(summary: str, **more: Any) -> dict[str, Any]:
    content = {JSON: {"schema": {"type": "object"}}}
    responses = {
        "200": {"description": "Done.", "content": content},
        "default": {"description": "It failed: `error` says how.", "content": content},
    }
    return {
        "summary": summary,
        "tags": ["openai"],
        "parameters": [],
        "responses": responses,
        **more,
    }


#: For the OpenAPI document, as far as it means something here.
DESCRIBED: dict[str, Any] = {
    COMPLETIONS: {
        "post": _described_operation(
            "An answer with its sources cited, as a chat completion of OpenAI's API",
            operationId="post_chat_completions",
            description="With `stream`, server-sent events end with `data: [DONE]`.",
            requestBody={
                "required": True,
                "content": {
                    JSON: {
                        "schema": {
                            "type": "object",
                            "required": ["model", "messages"],
                            "properties": {
                                "model": {"anyOf": [{"enum": [MODEL]}, {"type": "string"}]},
                                "messages": {"type": "array", "items": {"type": "object"}},
                                "stream": {"type": "boolean"},
                                "where": {"type": "array", "items": {"type": "string"}},
                            },
                        }
                    }
                },
            },
        )
    },
    MODELS: {"get": _described_operation("What answers", operationId="get_models")},
    f"{MODELS}/{{model}}": {
        "get": _described_operation(
            "What answers, by its name",
            operationId="get_model",
            parameters=[
                {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
            ],
        )
    },
}


class Chat:
    """The endpoints."""

    def __init__(
        self,
        ask: Callable[[Request, Any], Awaitable[Any]],
        bodies: Bodies,
        language_model: LanguageModel | None,
        seconds: float,
    ) -> None:
        """:param ask: the gateway's response to a request of the API.
        :param seconds: the deadline of an answer whose caller leaves none.
        """
        self._ask = ask
        self._bodies = bodies
        self._language_model = language_model
        self._seconds = seconds
        self._models = [MODEL, *([language_model.name] if language_model else [])]

    def routes(self) -> list[Route]:
        return [
            route("POST", COMPLETIONS, self.completions, error_body),
            route("GET", MODELS, self.models, error_body),
            route("GET", f"{MODELS}/{{model:path}}", self.models, error_body),
        ]

    async def completions(self, request: Request) -> Response:
        async with self._bodies.json(request, QUESTION_BYTES) as body:
            given = asked(body, self._models)
            documents = f"{request.base_url}v1/documents/"
            if self._language_model is not None and given.model == self._language_model.name:
                found, parts = await self._generated(
                    self._language_model, request, given, documents
                )
            else:
                read = await self._ask(request, ask_request(given.question, where=given.where))
                found = completion(read, documents)
                parts = _each(found.parts)
        head = _head(found, given.model)
        if given.streamed:
            return StreamingResponse(_chunks(head, found, parts), media_type="text/event-stream")
        content = await unless_gone(request, _joined(parts))
        message = {"role": "assistant", "content": content, "annotations": found.citations}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        return _json({**head, "object": "chat.completion", "choices": [choice]})

    async def _generated(
        self, model: LanguageModel, request: Request, given: Asked, documents: str
    ) -> tuple[Completion, AsyncIterator[str]]:
        """From the passages that are found for the question."""
        seconds = call.current.get().seconds(self._seconds)
        found = await self._ask(
            request, search_request(given.question, where=given.where, limit=PASSAGES)
        )
        passages = [each.passage for each in found.passages]
        made = Completion([], [], _fingerprint(found.index_version))

        async def parts() -> AsyncIterator[str]:
            if not passages:
                yield NO_ANSWER
                return
            cited: list[int] = []
            length = 0
            sentences = model.answer(given.messages, passages, NO_ANSWER, seconds, cited)
            async for sentence in sentences:
                for mark in MARK.finditer(sentence):
                    passage = passages[int(mark[1]) - 1]
                    start, end = length + mark.start(1) - 1, length + mark.end()
                    made.citations.append(_citation(passage, documents, start, end))
                length += len(sentence)
                yield sentence
            for each, number in enumerate(sorted(cited)):
                passage = passages[number - 1]
                name, place = _place(passage)
                where = f"{name}{place}, {passage.start}–{passage.end})"
                yield f"{LINE if each else BLANK}[{number}] {where}"

        return made, parts()

    async def models(self, request: Request) -> Response:
        name = request.path_params.get("model")
        if name is not None and name not in self._models:
            raise NotFound(
                f"there is no such model: ask {' or '.join(self._models)}", field="model"
            )
        listed = [
            {"id": each, "object": "model", "created": CREATED, "owned_by": "realm"}
            for each in self._models
            if name in (None, each)
        ]
        return _json(listed[0] if name else {"object": "list", "data": listed})


def _head(found: Completion, model: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{call.current.get().request_id}",
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": found.fingerprint,
    }


async def _each(parts: Sequence[str]) -> AsyncIterator[str]:
    for part in parts:
        yield part


async def _joined(parts: AsyncIterator[str]) -> str:
    return "".join([part async for part in parts])


async def _chunks(
    head: dict[str, Any], found: Completion, parts: AsyncIterator[str]
) -> AsyncIterator[bytes]:
    """What fails now is told in the stream: its status has been sent."""

    def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return _event({**head, "object": "chat.completion.chunk", "choices": [choice]})

    yield chunk({"role": "assistant", "content": ""})
    try:
        async for part in parts:
            yield chunk({"content": part})
    except Exception as error:
        yield _event(error_body(told(error, COMPLETIONS)))
        return
    yield chunk({"annotations": found.citations}, "stop")
    yield b"data: [DONE]\n\n"


def _event(plain: Any) -> bytes:
    return b"data: %s\n\n" % encoded(plain)


def error_body(error: RealmError) -> dict[str, Any]:
    """As that API tells errors."""
    status = http_status(error)
    kind = "server_error" if status >= 500 else "invalid_request_error"
    said = {"message": error.message, "type": kind, "code": error.reason.lower()}
    return {"error": {**said, "param": error.details.get("field")}}


def _json(plain: Any) -> Response:
    return Response(encoded(plain), headers={"cache-control": "no-store"}, media_type=JSON)
