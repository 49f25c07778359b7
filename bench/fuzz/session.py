"""Sends requests to a server and judges each answer by itself."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor

from bench.fuzz.requests import Request
from realm.client.wire import WRITE_FAILED

#: What a bad request may end with. UNKNOWN is nobody's answer, INTERNAL is a fault of the server's.
BAD_CODES = frozenset(
    {grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.DATA_LOSS}
)
#: Python's own words, which no caller should read.
PYTHON = re.compile(
    r"Traceback|File \"|object at 0x|<class|\b[A-Z][A-Za-z]*(?:Error|Exception)\b|\bself\.|\.py\b"
)
MOST_EXAMPLES = 20


@dataclass(slots=True)
class Findings:
    """What answers there were, by method and status; and those that should not have been."""

    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.answers.total()


class FuzzSession:
    """Judges what `address` answers.

    :param secrets: texts that no answer may hold: addresses, folders, keys.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        methods: dict[str, MethodDescriptor],
        secrets: Sequence[str],
        seconds: float,
    ) -> None:
        """:param seconds: the deadline of each call."""
        self.findings = Findings()
        self._channel = channel
        self._methods = methods
        self._secrets = secrets
        self._seconds = seconds

    async def send_all(self, requests: Iterable[Request], at_once: int) -> None:
        places = asyncio.Semaphore(at_once)

        async def one(request: Request) -> None:
            try:
                await self._send(request)
            finally:
                places.release()

        async with asyncio.TaskGroup() as tasks:
            for request in requests:
                await places.acquire()
                tasks.create_task(one(request))

    async def _send(self, request: Request) -> None:
        method = self._methods[request.method]
        call = self._call(request, method)
        code, said = grpc.StatusCode.OK, ""
        try:
            if request.hang_up:
                await asyncio.sleep(0)
                call.cancel()
            if method.server_streaming:
                async for response in call:
                    said += _printable(response)
                    if not method.client_streaming:
                        break  # a watch goes on until its deadline
            else:
                await call
        except asyncio.CancelledError:
            if not request.hang_up:
                raise
            code = grpc.StatusCode.CANCELLED
        except grpc.aio.AioRpcError as error:
            if error.details() == WRITE_FAILED:
                self.findings.answers[request.method.rpartition("/")[2], "written too late"] += 1
                return
            code = error.code()
            trailers: Any = error.trailing_metadata() or ()
            said += f"{error.details()} " + " ".join(_printable(value) for _, value in trailers)
        finally:
            call.cancel()
        self._judge(request, code, said)

    def _call(self, request: Request, method: MethodDescriptor) -> Any:
        kinds: dict[tuple[bool, bool], Any] = {
            (False, False): self._channel.unary_unary,
            (False, True): self._channel.unary_stream,
            (True, False): self._channel.stream_unary,
            (True, True): self._channel.stream_stream,
        }
        multi = kinds[method.client_streaming, method.server_streaming](request.method)
        given = iter(request.messages) if method.client_streaming else request.messages[0]
        return multi(given, timeout=self._seconds, metadata=request.metadata)

    def _judge(self, request: Request, code: grpc.StatusCode, said: str) -> None:
        name = request.method.rpartition("/")[2]
        self.findings.answers[name, code.name] += 1
        given = [each.hex()[:400] for each in request.messages]
        example = f"{name} {code.name} {said[:300]!r} to {given}"
        if code in BAD_CODES and len(self.findings.faults) < MOST_EXAMPLES:
            self.findings.faults.append(example)
        sent = b" ".join(request.messages).decode(errors="replace")
        for found in self._leaked(said):
            if found not in sent and len(self.findings.leaks) < MOST_EXAMPLES:
                self.findings.leaks.append(f"{found}: {example}")

    def _leaked(self, said: str) -> list[str]:
        secret = [each for each in self._secrets if each in said]
        return list(dict.fromkeys([*secret, *(each.group() for each in PYTHON.finditer(said))]))


def _printable(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")
