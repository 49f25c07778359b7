"""What HTTP offers of the API: each operation is a method of `realm.v1` under a path.

What a request says beside its body goes into fields of its message: the path and the query by their
names, `where` into `filter`, headers into `at_least_version` and `request_id`. The routes and the
OpenAPI document are both made from this list.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message
from starlette.requests import Request

from realm.client import arguments
from realm.errors import InvalidInput
from realm.v1 import answer_pb2, corpus_pb2, index_pb2, retrieval_pb2, types_pb2
from services.web import bodies, call
from services.web.messages import from_json, from_query, simple_fields

Named = Callable[[Any, str], None]

#: Imported, their methods are in the pool that operations name them from.
PROTOS = (answer_pb2, corpus_pb2, index_pb2, retrieval_pb2)


@dataclass(frozen=True)
class Operation:
    """`body` is the kind of message that the body is: the request's own, or a document to put into
    it; None: there is none. `parameter` is the one of the path, which `named` puts in its place."""

    http: str
    path: str
    rpc: str
    body: type[Message] | None = None
    parameter: str = ""
    named: Named | None = None
    most: int = bodies.QUESTION_BYTES

    @cached_property
    def method(self) -> Any:
        """Its descriptor."""
        service, _, name = self.rpc.partition(".")
        pool = descriptor_pool.Default()
        return pool.FindServiceByName(f"realm.v1.{service}").methods_by_name[name]

    @cached_property
    def request(self) -> type[Message]:
        return message_factory.GetMessageClass(self.method.input_type)

    @property
    def headers(self) -> dict[str, str]:
        """The field that each header of its own gives."""
        offered = {call.AT_LEAST_VERSION: "at_least_version", call.IDEMPOTENCY_KEY: "request_id"}
        fields = self.request.DESCRIPTOR.fields_by_name
        return {name: field for name, field in offered.items() if field in fields}

    @cached_property
    def queried(self) -> list[Any]:
        """The fields that the query gives, beside the filter."""
        if self.body is not None:
            return []
        taken = {self.parameter, *self.headers.values()}
        return [each for each in simple_fields(self.request.DESCRIPTOR) if each.name not in taken]

    @property
    def filtered(self) -> bool:
        """Whether the query's `where` bounds it."""
        return "filter" in self.request.DESCRIPTOR.fields_by_name

    @property
    def route(self) -> str:
        """For Starlette: a document's id may have slashes."""
        return self.path.replace("{document_id}", "{document_id:path}")

    def message(self, request: Request, body: bytes) -> Message:
        """:raises InvalidInput: if it cannot be made of what was sent."""
        made = self.request()
        if self.body is self.request:
            from_json(body, made)
        elif self.body is not None:
            from_json(body, made.documents.add())  # type: ignore[attr-defined]
        from_query(request.query_params.multi_items(), made, self.queried)
        if self.named is not None:
            self.named(made, request.path_params[self.parameter])
        for header, field in self.headers.items():
            if header in request.headers:
                setattr(made, field, _value(field, header, request.headers[header]))
        return made


def _value(field: str, header: str, given: str) -> Any:
    if field == "request_id":
        return given
    return arguments.uint64(header, int(given) if _is_number(given) else given)


def _is_number(given: str) -> bool:
    """Of few enough digits to look at."""
    return given.isascii() and given.isdecimal() and len(given) < 40


def _document_to_read(request: corpus_pb2.GetDocumentRequest, document_id: str) -> None:
    request.document_id = document_id


def _document_to_delete(request: corpus_pb2.DeleteDocumentsRequest, document_id: str) -> None:
    request.document_ids.append(document_id)


def _document_to_write(request: corpus_pb2.UpsertDocumentsRequest, document_id: str) -> None:
    document = request.documents[0]
    if document.id and document.id != document_id:
        raise InvalidInput(
            f"the path names document {document_id}, the body {document.id}: leave one out",
            field="id",
        )
    document.id = document_id


def _generation(request: index_pb2.GetGenerationRequest, number: str) -> None:
    if not _is_number(number):
        raise InvalidInput("a generation is a number", field="generation")
    request.generation = arguments.uint64("generation", int(number))


_DOCUMENT = "/v1/documents/{document_id}"

OPERATIONS = (
    Operation(
        "POST",
        "/v1/search",
        "RetrievalService.RetrievePassages",
        retrieval_pb2.RetrievePassagesRequest,
    ),
    Operation("POST", "/v1/ask", "AnswerService.AnswerQuestion", answer_pb2.AnswerQuestionRequest),
    Operation("GET", "/v1/documents", "CorpusService.ListDocuments"),
    Operation(
        "POST",
        "/v1/documents",
        "CorpusService.UpsertDocuments",
        corpus_pb2.UpsertDocumentsRequest,
        most=bodies.WRITE_BYTES,
    ),
    Operation(
        "GET",
        _DOCUMENT,
        "CorpusService.GetDocument",
        parameter="document_id",
        named=_document_to_read,
    ),
    Operation(
        "PUT",
        _DOCUMENT,
        "CorpusService.UpsertDocuments",
        types_pb2.Document,
        parameter="document_id",
        named=_document_to_write,
        most=bodies.WRITE_BYTES,
    ),
    Operation(
        "DELETE",
        _DOCUMENT,
        "CorpusService.DeleteDocuments",
        parameter="document_id",
        named=_document_to_delete,
    ),
    Operation("GET", "/v1/index", "IndexService.GetIndexStatus"),
    Operation("GET", "/v1/generations", "IndexService.ListGenerations"),
    Operation(
        "GET",
        "/v1/generations/{generation}",
        "IndexService.GetGeneration",
        parameter="generation",
        named=_generation,
    ),
)
