"""Errors as HTTP tells them: `google.rpc.Status` as JSON, under the status of its code."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from google.rpc import status_pb2
from starlette.exceptions import HTTPException
from starlette.responses import Response

from realm.client.wire import retry_seconds, to_status
from realm.errors import InvalidInput, NotFound, RealmError
from realm.process.redaction import for_callers
from realm.process.rpc import incident
from services.web.messages import JSON, encoded, to_plain

#: As google/rpc/code.proto has it.
HTTP_STATUS = {
    "OK": 200,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}


class WrongRequest(InvalidInput):
    """What HTTP has a status of its own for."""

    def __init__(
        self, message: str, http_status: int, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.headers = dict(headers or {})


def told(error: BaseException, where: str) -> RealmError:
    """What the caller hears of it: nothing of places, and of a fault of ours its incident alone."""
    if isinstance(error, HTTPException):
        return _of_http(error)
    return for_callers(error) if isinstance(error, RealmError) else incident(error, where)


def to_plain_status(error: RealmError) -> Any:
    return to_plain(to_status(error))


def http_status(error: RealmError) -> int:
    return error.http_status if isinstance(error, WrongRequest) else HTTP_STATUS[error.code]


def response(error: RealmError, body: Any = None) -> Response:
    """Retry-After, in whole seconds, says where another try may end better.

    :param body: what to say instead of the status.
    """
    status: status_pb2.Status = to_status(error)
    headers = {"cache-control": "no-store", **getattr(error, "headers", {})}
    if pause := retry_seconds(status):
        headers["retry-after"] = str(max(1, math.ceil(pause)))
    if error.code == "UNAUTHENTICATED":
        headers["www-authenticate"] = "Bearer"
    content = encoded(to_plain(status) if body is None else body)
    return Response(content, http_status(error), headers, JSON)


def _of_http(error: HTTPException) -> RealmError:
    if error.status_code == 404:
        return NotFound("there is nothing at this path: /docs lists what there is")
    words = "this path does not take this method" if error.status_code == 405 else error.detail
    return WrongRequest(words, error.status_code, error.headers)
