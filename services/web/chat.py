"""Questions in the form of OpenAI's chat completions: the reader's answer with its sources cited.

The user's last message is the question; what came before it is not read. Whoever has a client of
that API can so ask this corpus: `base_url` is this service's address with /v1, the model `realm`.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from realm.client.requests import ask_request
from realm.errors import InvalidInput, NotFound, RealmError
from realm.v1.answer_pb2 import Answer, AnswerQuestionRequest, AnswerQuestionResponse, Source
from services.web import call
from services.web.bodies import QUESTION_BYTES, Bodies
from services.web.errors import http_status
from services.web.messages import JSON, encoded
from services.web.middleware import route

COMPLETIONS, MODELS = "/v1/chat/completions", "/v1/models"
MODEL = "realm"
#: Of a source, around what was read in it.
EXCERPT = 160
LINE, BLANK = "\n", "\n\n"
NO_ANSWER = "The passages do not answer this."
#: When this process began: the model has no other date, as what is live changes.
CREATED = int(time.time())


@dataclass(frozen=True, slots=True)
class Completion:
    """What to say: `parts` together are the content, and `citations` point into it."""

    parts: list[str]
    citations: list[dict[str, Any]]
    fingerprint: str


def asked(body: bytes) -> tuple[AnswerQuestionRequest, bool]:
    """The question, and whether to stream its answer. What else clients send has no meaning here.

    :raises InvalidInput: if there is no question in it.
    """
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("the body is no JSON") from error
    if not isinstance(given, dict):
        raise InvalidInput("the body is no object")
    if given.get("model") != MODEL:
        raise NotFound(f"there is no such model: ask {MODEL}", field="model")
    if given.get("n") not in (None, 1):
        raise InvalidInput("n is not 1: there is one answer", field="n")
    where = given.get("where")
    return ask_request(_question(given.get("messages")), where=where or None), bool(
        given.get("stream")
    )


def _question(messages: Any) -> str:
    """The text of the user's last message."""
    for message in reversed(messages if isinstance(messages, list) else []):
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            parts = content if isinstance(content, list) else [{"text": content}]
            texts = [each.get("text") for each in parts if isinstance(each, dict)]
            return "\n".join(each for each in texts if isinstance(each, str))
    raise InvalidInput("messages holds no message of the user", field="messages")


def completion(found: AnswerQuestionResponse, documents: str) -> Completion:
    """:param documents: the URL under which documents are."""
    fingerprint = f"generation-{found.index_version.generation}"
    if not found.answers:
        return Completion([NO_ANSWER], [], fingerprint)
    answer = found.answers[0]
    parts = [answer.text]
    citations: list[dict[str, Any]] = []
    length = len(answer.text)
    for number, source in enumerate(answer.sources, 1):
        mark = f" [{number}]"
        parts.append(mark)
        citations.append(_citation(source, documents, length + 1, length + len(mark)))
        length += len(mark)
    for number, source in enumerate(answer.sources, 1):
        parts.append(f"{BLANK if number == 1 else LINE}[{number}] {_described(answer, source)}")
    return Completion(parts, citations, fingerprint)


def _citation(source: Source, documents: str, start: int, end: int) -> dict[str, Any]:
    passage = source.passage
    return {
        "type": "url_citation",
        "url_citation": {
            "url": documents + quote(passage.document_id, safe=""),
            "title": passage.title or passage.document_id,
            "start_index": start,
            "end_index": end,
        },
    }


def _described(answer: Answer, source: Source) -> str:
    passage = source.passage
    name = f"{passage.title} " if passage.title else ""
    place = f"({passage.document_id}, version {passage.document_version}"
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
            "The reader's answer with its sources cited, as a chat completion of OpenAI's API",
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
                                "model": {"type": "string", "enum": [MODEL]},
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
    MODELS: {"get": _described_operation("The one model", operationId="get_models")},
    f"{MODELS}/{{model}}": {
        "get": _described_operation(
            "The one model, by its name",
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
        ask: Callable[[Request, AnswerQuestionRequest], Awaitable[AnswerQuestionResponse]],
        bodies: Bodies,
    ) -> None:
        self._ask = ask
        self._bodies = bodies

    def routes(self) -> list[Route]:
        return [
            route("POST", COMPLETIONS, self.completions, error_body),
            route("GET", MODELS, self.models, error_body),
            route("GET", f"{MODELS}/{{model}}", self.models, error_body),
        ]

    async def completions(self, request: Request) -> Response:
        async with self._bodies.json(request, QUESTION_BYTES) as body:
            question, streamed = asked(body)
            found = completion(
                await self._ask(request, question), f"{request.base_url}v1/documents/"
            )
        if streamed:
            return StreamingResponse(_chunks(found), media_type="text/event-stream")
        message = {
            "role": "assistant",
            "content": "".join(found.parts),
            "annotations": found.citations,
        }
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        return _json({**_head(found, "chat.completion"), "choices": [choice]})

    async def models(self, request: Request) -> Response:
        name = request.path_params.get("model")
        if name not in (None, MODEL):
            raise NotFound(f"there is no such model: ask {MODEL}", field="model")
        model = {"id": MODEL, "object": "model", "created": CREATED, "owned_by": "realm"}
        return _json(model if name else {"object": "list", "data": [model]})


def _head(found: Completion, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{call.current.get().request_id}",
        "object": kind,
        "created": int(time.time()),
        "model": MODEL,
        "system_fingerprint": found.fingerprint,
    }


async def _chunks(found: Completion) -> AsyncIterator[bytes]:
    head = _head(found, "chat.completion.chunk")
    deltas: list[tuple[dict[str, Any], str | None]] = [
        ({"role": "assistant", "content": ""}, None),
        *(({"content": part}, None) for part in found.parts),
        ({"annotations": found.citations}, "stop"),
    ]
    for delta, reason in deltas:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        yield b"data: %s\n\n" % encoded({**head, "choices": [choice]})
    yield b"data: [DONE]\n\n"


def error_body(error: RealmError) -> dict[str, Any]:
    """As that API tells errors."""
    status = http_status(error)
    kind = "server_error" if status >= 500 else "invalid_request_error"
    said = {"message": error.message, "type": kind, "code": error.reason.lower()}
    return {"error": {**said, "param": error.details.get("field")}}


def _json(plain: Any) -> Response:
    return Response(encoded(plain), headers={"cache-control": "no-store"}, media_type=JSON)
