"""JSON Lines: a document a line."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import BinaryIO, NoReturn, TextIO

from realm.corpus.containers import Asked, Found, as_text, container
from realm.corpus.rows import from_json
from realm.errors import InvalidInput


@container(".jsonl", ".ndjson")
def read_json_lines(file: BinaryIO, asked: Asked) -> Iterator[Found]:
    with as_text(file, asked) as text:
        for number, line in _lines(text, asked.longest):
            if line is None:
                yield number, partial(_too_long, asked.longest)
            elif line.strip():
                yield number, partial(from_json, line, asked.columns)


def _lines(file: TextIO, longest: int) -> Iterator[tuple[int, str | None]]:
    """Numbered lines; None for one that is too long, which is skipped without holding it."""
    number = 0
    while line := file.readline(longest + 1):
        number += 1
        too_long = len(line) > longest
        while too_long and line and not line.endswith("\n"):
            line = file.readline(longest)
        yield number, None if too_long else line.removeprefix("\ufeff")


def _too_long(limit: int) -> NoReturn:
    raise InvalidInput(f"the line has more than {limit} bytes: split the document")
