"""The load generator's request log: one JSON line a request, read by the live view and report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path


class Verdict(StrEnum):
    """What the audit of a response found."""

    ONE_VERSION = "one_version"
    MIXED = "mixed"
    #: The store no longer holds what the check needs.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request. `at` is Unix time at its end, `latency` in seconds; `verdict` if audited.

    `retries` counts the attempts that found no gateway or a gateway that was not ready.
    """

    at: float
    kind: str
    latency: float
    failed: str = ""
    generation: int = 0
    snapshot: int = 0
    verdict: str = ""
    retries: int = 0


def append_record(file: Path, record: RequestRecord) -> None:
    with file.open("a") as log:
        log.write(json.dumps(asdict(record)) + "\n")


def read_records(file: Path, position: int = 0) -> tuple[list[RequestRecord], int]:
    """Records from a byte position on, and the position after the last whole line."""
    lines = [*_whole_lines(file, position)]
    return [*map(_record, lines)], position + sum(map(len, lines))


def each_record(file: Path, position: int = 0) -> Iterator[RequestRecord]:
    """As `read_records`, one after the other: all of a long run have no room in memory."""
    return map(_record, _whole_lines(file, position))


def _whole_lines(file: Path, position: int) -> Iterator[bytes]:
    if not file.exists():
        return
    with file.open("rb") as log:
        log.seek(position)
        yield from (line for line in log if line.endswith(b"\n"))


def _record(line: bytes) -> RequestRecord:
    return RequestRecord(**json.loads(line))
