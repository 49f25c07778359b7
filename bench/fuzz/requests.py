"""Requests of every method, made from the descriptors: random messages, some of them mutated."""

from __future__ import annotations

import importlib
import pkgutil
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor

import realm.internal.v1
import realm.v1

MAX_DEPTH = 6
#: How many items a repeated field has, and rarely.
FEW, MANY = 3, 400
MANY_SHARE = 0.01
#: Shares of requests, and of texts.
MUTATED, PLAUSIBLE = 0.4, 0.7
#: Of fields that are set: the fewer, the likelier that a request is carried out.
PRESENT = (0.2, 0.5, 0.9)
MOST_MESSAGES = 5
MUTATIONS = 4

STRINGS = (
    "",
    " ",
    "\0",
    "\n\r\t",
    "\u202e\u2066",
    "e\u0301" * 40,
    "\ufdfa" * 300,
    "漢字" * 500,
    "🧪" * 64,
    "\uffff",
    "../../etc/passwd",
    "a/b//c",
    "'; DROP TABLE x; --",
    '{"a": [1, {}]}',
    "%s%n{0}{x!r}",
    "-1",
    "nan",
    "1e400",
    "2024-02-30",
    "x" * 513,
    "x" * 20_000,
)
INTEGERS = (0, 1, 2, 5, 20, 21, 100, 101, 1_000, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
FLOATS = (0.0, -0.0, 0.5, -1.0, 1e300, -1e300, float("nan"), float("inf"), float("-inf"))
_BITS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


@dataclass(frozen=True, slots=True)
class Request:
    """One call: what goes over the wire, message by message. `hang_up`: without waiting for the
    end. `metadata` is beyond gRPC's own."""

    method: str
    messages: tuple[bytes, ...]
    hang_up: bool = False
    metadata: tuple[tuple[str, str | bytes], ...] = ()


def methods() -> dict[str, MethodDescriptor]:
    """Every method of the protos, by its path."""
    found = {}
    for package in (realm.v1, realm.internal.v1):
        for each in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if each.name.endswith("_pb2"):
                file = importlib.import_module(each.name).DESCRIPTOR
                for service in file.services_by_name.values():
                    for method in service.methods:
                        found[f"/{service.full_name}/{method.name}"] = method
    return dict(sorted(found.items()))


class Fuzzer:
    """The same requests whenever it is made with the same seed and words."""

    def __init__(self, seed: int, words: Sequence[str]) -> None:
        """:param words: what plausible texts are made of."""
        self._rng = random.Random(seed)
        self._words = words
        self._present = PRESENT[0]

    def requests(self, methods: dict[str, MethodDescriptor]) -> Iterator[Request]:
        """Without end, each method in turn."""
        while True:
            for path, method in methods.items():
                yield self.request(path, method)

    def request(self, path: str, method: MethodDescriptor) -> Request:
        self._present = self._rng.choice(PRESENT)
        count = self._rng.randint(0, MOST_MESSAGES) if method.client_streaming else 1
        kind = message_factory.GetMessageClass(method.input_type)
        messages = [self._message(kind()).SerializeToString() for _ in range(count)]
        return Request(
            path,
            tuple(self._mutated(each) if self._chance(MUTATED) else each for each in messages),
            hang_up=self._chance(0.05),
            metadata=self._metadata() if self._chance(0.1) else (),
        )

    def _chance(self, share: float) -> bool:
        return self._rng.random() < share

    def _message(self, message: Any, depth: int = 0) -> Any:
        for field in message.DESCRIPTOR.fields:
            plain = field.message_type is None and not field.is_repeated
            # Texts come first: without its question no request goes far.
            text = plain and field.type == FieldDescriptor.TYPE_STRING
            if not self._chance(max(self._present, PLAUSIBLE if text else 0.0)):
                continue
            if field.is_repeated:
                self._fill(message, field, depth)
            elif field.message_type is not None:
                if depth < MAX_DEPTH:
                    self._message(getattr(message, field.name), depth + 1)
                    getattr(message, field.name).SetInParent()
            else:
                setattr(message, field.name, self._scalar(field))
        return message

    def _fill(self, message: Any, field: FieldDescriptor, depth: int) -> None:
        target = getattr(message, field.name)
        kind = field.message_type
        many = self._chance(MANY_SHARE) and depth == 0
        for _ in range(self._rng.randint(0, MANY if many else FEW)):
            if kind is None:
                target.append(self._scalar(field))
            elif kind.GetOptions().map_entry:
                key, value = kind.fields_by_name["key"], kind.fields_by_name["value"]
                if value.message_type is None:
                    target[self._scalar(key)] = self._scalar(value)
            elif depth < MAX_DEPTH:
                self._message(target.add(), depth + 1)

    def _scalar(self, field: FieldDescriptor) -> Any:
        match field.cpp_type:
            case FieldDescriptor.CPPTYPE_BOOL:
                return self._chance(0.5)
            case FieldDescriptor.CPPTYPE_ENUM:
                return self._rng.choice((0, 1, 2, 3, 99, -1))
            case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
                return self._rng.choice(FLOATS)
            case FieldDescriptor.CPPTYPE_STRING:
                text = self._text()
                return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
        least, most = _BITS[field.cpp_type]
        return min(most, max(least, self._rng.choice(INTEGERS)))

    def _text(self) -> str:
        if self._chance(PLAUSIBLE):
            return " ".join(self._rng.choices(self._words, k=self._rng.randint(1, 12)))
        return self._rng.choice(STRINGS)

    def _mutated(self, data: bytes) -> bytes:
        found = bytearray(data)
        for _ in range(self._rng.randint(1, MUTATIONS)):
            at = self._rng.randrange(len(found) + 1)
            length = self._rng.randint(1, 16)
            match self._rng.randrange(5):
                case 0 if at < len(found):
                    found[at] ^= 1 << self._rng.randrange(8)
                case 1:
                    del found[at : at + length]
                case 2:
                    found[at:at] = self._rng.randbytes(length)
                case 3:
                    found[at:at] = found[max(0, at - length) : at]
                case _:
                    del found[at:]
        return bytes(found)

    def _metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        printable = "".join(
            chr(self._rng.randint(32, 126)) for _ in range(self._rng.randint(0, 60))
        )
        return self._rng.choice(
            (
                (("x-request-id", printable * 10),),
                (("authorization", f"Bearer {printable}"),),
                (("authorization", "Bearer"),),
                (("traceparent", printable),),
                (("x-something-bin", self._rng.randbytes(40)),),
            )
        )
