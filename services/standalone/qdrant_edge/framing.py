"""Frames between the front and a child: a length, a request number, then the content.

A request's content is an operation's name and protobuf bytes; a reply's is an outcome and either
protobuf bytes or a fault as JSON. Nothing on this wire can run code.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import BinaryIO

from realm.errors import RealmError

#: Length of what follows, then the number that ties a reply to its request.
HEADER = struct.Struct("<IQ")
OK, FAULT = b"\x00", b"\x01"


class RemoteFault(RealmError):
    """A fault that a child reported, with the child's own code and reason."""

    def __init__(self, code: str, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Request:
    """`number` is unique on its connection while the request is pending."""

    number: int
    operation: str
    body: bytes

    def frame(self) -> bytes:
        name = self.operation.encode()
        content = bytes([len(name)]) + name + self.body
        return HEADER.pack(len(content), self.number) + content


def read_request(stream: BinaryIO) -> Request | None:
    """The next request, or None where the front has hung up."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    length, number = HEADER.unpack(header)
    content = stream.read(length)
    if len(content) < length:
        return None
    start = 1 + content[0]
    return Request(number, content[1:start].decode(), content[start:])


def reply_frame(number: int, body: bytes) -> bytes:
    return HEADER.pack(len(body) + 1, number) + OK + body


def fault_frame(number: int, fault: RealmError) -> bytes:
    report = {"code": fault.code, "reason": fault.reason, "message": fault.message}
    content = FAULT + json.dumps(report).encode()
    return HEADER.pack(len(content), number) + content


def open_reply(content: bytes) -> bytes:
    """The protobuf bytes of a reply.

    :raises RemoteFault: if the child reported a fault.
    """
    if content[:1] == OK:
        return content[1:]
    raise RemoteFault(**json.loads(content[1:]))
