"""The visitor's diary: one JSON line a request, read by the live view and the report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Visit:
    """One request. `at` is Unix time at its end, `latency` in seconds; `verdict` if audited.

    `retries` counts how often it was asked again because nobody was there to answer.
    """

    at: float
    kind: str
    latency: float
    failed: str = ""
    generation: int = 0
    snapshot: int = 0
    verdict: str = ""
    retries: int = 0


def write_visit(file: Path, visit: Visit) -> None:
    with file.open("a") as diary:
        diary.write(json.dumps(asdict(visit)) + "\n")


def read_visits(file: Path, position: int = 0) -> tuple[list[Visit], int]:
    """Visits from a byte position on, and the position after the last whole line."""
    if not file.exists():
        return [], position
    with file.open("rb") as diary:
        diary.seek(position)
        lines = list(_whole_lines(diary.read()))
    return [Visit(**json.loads(line)) for line in lines], position + sum(map(len, lines))


def _whole_lines(data: bytes) -> Iterator[bytes]:
    for line in data.splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield line
