"""The OpenAPI document, made from the operations, the descriptors of their messages and what the
protos say about each."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor as Field
from google.rpc import status_pb2

from realm import __version__
from realm.v1.comments import COMMENTS
from realm.v1.index_pb2 import WatchIndexResponse
from services.web import call, chat, events
from services.web.messages import JSON
from services.web.operations import OPERATIONS, Operation

_INTEGERS = {
    Field.CPPTYPE_INT32: "int32",
    Field.CPPTYPE_UINT32: "uint32",
    Field.CPPTYPE_INT64: "int64",
    Field.CPPTYPE_UINT64: "uint64",
}
_WELL_KNOWN: dict[str, dict[str, Any]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "examples": ["1.5s"]},
    "google.protobuf.FieldMask": {
        "type": "string",
        "examples": ["passages.score,passages.passage.documentId"],
    },
    "google.protobuf.Any": {
        "type": "object",
        "properties": {"@type": {"type": "string"}},
        "additionalProperties": True,
    },
}
_HEADERS = {
    call.REQUEST_ID: ("Names the call in logs, and is given back.", {"type": "string"}),
    call.TIMEOUT: (
        "The deadline, in seconds.",
        {"type": "number", "exclusiveMinimum": 0, "maximum": call.MAX_SECONDS},
    ),
    call.AT_LEAST_VERSION: (
        "Wait, within the deadline, until writes up to this corpus version are in the index.",
        {"type": "string", "format": "uint64"},
    ),
    call.IDEMPOTENCY_KEY: (
        "Names the write: sent again under it within a day, it changes nothing.",
        {"type": "string"},
    ),
}
_DESCRIPTION = """Search, answers, documents and the index over HTTP. Names and fields are those of
the protos; the JSON is protobuf's own mapping, so 64-bit numbers are strings. Errors are
google.rpc.Status, under the HTTP status that the code maps to."""


def document() -> dict[str, Any]:
    schemas = Schemas()
    paths: dict[str, Any] = {}
    for each in OPERATIONS:
        paths.setdefault(each.path, {})[each.http.lower()] = _operation(each, schemas)
    paths[events.PATH] = {"get": _events(schemas)}
    paths.update(chat.DESCRIBED)
    schemas.reference(status_pb2.Status.DESCRIPTOR)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "realm",
            "version": __version__,
            "description": " ".join(_DESCRIPTION.split()),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "security": [{}, {"key": []}],
        "components": {
            "schemas": schemas.made,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "A key of `realm keys`."}
            },
        },
    }


class Schemas:
    """JSON schemas of messages, each once, under its name in the protos."""

    def __init__(self) -> None:
        self.made: dict[str, Any] = {}

    def reference(self, message: Any) -> dict[str, Any]:
        if message.full_name in _WELL_KNOWN:
            return dict(_WELL_KNOWN[message.full_name])
        name = message.full_name.removeprefix("realm.v1.")
        if name not in self.made:
            self.made[name] = {}  # a message may hold itself
            self.made[name].update(self._message(message))
        return {"$ref": f"#/components/schemas/{name}"}

    def field(self, field: Any) -> dict[str, Any]:
        words = COMMENTS.get(field.full_name)
        schema = self._values(field)
        if not words:
            return schema
        if "$ref" in schema:
            return {"allOf": [schema], "description": words}
        return {**schema, "description": words}

    def one(self, field: Any) -> dict[str, Any]:
        """Of one value."""
        kind = field.cpp_type
        if kind == Field.CPPTYPE_MESSAGE:
            return self.reference(field.message_type)
        if kind == Field.CPPTYPE_ENUM:
            return {"type": "string", "enum": [each.name for each in field.enum_type.values]}
        if kind in (Field.CPPTYPE_INT64, Field.CPPTYPE_UINT64):
            return {"type": "string", "format": _INTEGERS[kind]}
        if kind in _INTEGERS:
            least = {"minimum": 0} if kind == Field.CPPTYPE_UINT32 else {}
            return {"type": "integer", "format": _INTEGERS[kind], **least}
        if kind == Field.CPPTYPE_BOOL:
            return {"type": "boolean"}
        return {"type": "string" if kind == Field.CPPTYPE_STRING else "number"}

    def _values(self, field: Any) -> dict[str, Any]:
        if not field.is_repeated:
            return self.one(field)
        message = field.message_type
        if message is not None and message.GetOptions().map_entry:
            value = message.fields_by_name["value"]
            return {"type": "object", "additionalProperties": self.one(value)}
        return {"type": "array", "items": self.one(field)}

    def _message(self, message: Any) -> dict[str, Any]:
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {each.name: self.field(each) for each in message.fields},
        }
        if words := COMMENTS.get(message.full_name):
            schema["description"] = words
        if any(len(each.fields) == len(message.fields) > 1 for each in message.oneofs):
            schema.update(minProperties=1, maxProperties=1)
        return schema


def _operation(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    method = operation.method
    described: dict[str, Any] = {
        "operationId": f"{operation.http.lower()}_{method.name}",
        "summary": COMMENTS[method.full_name].partition(". ")[0].rstrip("."),
        "description": COMMENTS[method.full_name],
        "tags": [operation.path.split("/")[2]],
        "parameters": [
            *_path_parameter(operation),
            *_query_parameters(operation, schemas),
            *map(_header, (call.REQUEST_ID, call.TIMEOUT, *operation.headers)),
        ],
        "responses": _responses(schemas, schemas.reference(method.output_type)),
    }
    if operation.body is not None:
        content = {"schema": schemas.reference(operation.body.DESCRIPTOR)}
        described["requestBody"] = {"required": True, "content": {JSON: content}}
    return described


def _events(schemas: Schemas) -> dict[str, Any]:
    schemas.reference(WatchIndexResponse.DESCRIPTOR)
    return {
        "operationId": "get_WatchIndex",
        "summary": "Follows the index",
        "description": "Server-sent events: `status` with a WatchIndexResponse now and at every"
        " change, `error` with a google.rpc.Status before an end that another try does not mend.",
        "tags": ["index"],
        "parameters": [_header(call.REQUEST_ID)],
        "responses": _responses(schemas, {"type": "string"}, "text/event-stream"),
    }


def _path_parameter(operation: Operation) -> list[dict[str, Any]]:
    if not operation.parameter:
        return []
    words = "The document's id." if operation.parameter == "document_id" else "Its number."
    schema = {"type": "string"}
    place = {"name": operation.parameter, "in": "path", "required": True}
    return [{**place, "description": words, "schema": schema}]


def _query_parameters(operation: Operation, schemas: Schemas) -> list[dict[str, Any]]:
    found = [
        {
            "name": each.name,
            "in": "query",
            "description": COMMENTS.get(each.full_name, ""),
            "schema": schemas.one(each),
        }
        for each in operation.queried
    ]
    if operation.filtered:
        words = "Only documents with this metadata: `key=value`, `key!=value`, `key=one|other`,"
        words += " `key>=2024-05-01` (>, <=, <), `key`, `!key`. Repeated, all must hold."
        terms = {"type": "array", "items": {"type": "string"}}
        found.append({"name": "where", "in": "query", "description": words, "schema": terms})
    return found


def _header(name: str) -> dict[str, Any]:
    words, schema = _HEADERS[name]
    return {"name": name, "in": "header", "description": words, "schema": schema}


def _responses(schemas: Schemas, found: Any, kind: str = JSON) -> dict[str, Any]:
    status = schemas.reference(status_pb2.Status.DESCRIPTOR)
    return {
        "200": {"description": "Done.", "content": {kind: {"schema": found}}},
        "default": {
            "description": "It failed; Retry-After says where another try may end better.",
            "content": {JSON: {"schema": status}},
        },
    }
