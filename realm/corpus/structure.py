"""The structure that a text shows: headings, code, rows of tables, as Markdown marks them.

A heading stands alone between blank lines (`## Alerts`), code between fences, and a row of a table
on a line between pipes (`| alert: IndexStale | after: 30 min |`). Readers of files write these
marks, whatever the format; a text given by the API may have them. Where a text has none, it is
plain. Characters stay where they are: everything here is an offset.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

#: A longer line is no heading, but text.
LONGEST_HEADING = 200
_LONGEST_FENCE = 100

_MARK = re.compile(
    rf"(?:\A|(?<=\n\n))(?P<level>\#{{1,6}})[ ](?=\S)[^\n]{{1,{LONGEST_HEADING}}}(?=\n\n|\n?\Z)"
    rf"|^(?P<fence>`{{3,{_LONGEST_FENCE}}})[^`\n]*\n"
    r"|^\|[ ][^\n]*[ ]\|$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Section:
    """Characters [start, end) under one path of headings, outermost first.

    `whole` are the code and the rows within, which are better not cut.
    """

    headings: tuple[str, ...]
    start: int
    end: int
    whole: tuple[tuple[int, int], ...]


def heading(level: int, text: str) -> str:
    return f"{'#' * level} {text}"


def code(text: str) -> str:
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * min(max(3, longest + 1), _LONGEST_FENCE)
    return f"{fence}\n{text}\n{fence}"


def row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def sections(text: str) -> Iterator[Section]:
    """All text but the headings, in order; a heading that nothing follows is text itself."""
    path: list[tuple[int, str]] = []
    start, own = 0, 0  # where the section's text begins, and its own heading
    whole: list[tuple[int, int]] = []
    for found in _marks(text):
        if not found.level:
            whole.append((found.start, found.end))
            continue
        if text[start : found.start].strip():
            yield Section(tuple(name for _, name in path), start, found.start, tuple(whole))
        elif path and found.level <= path[-1][0]:
            yield Section(tuple(name for _, name in path[:-1]), own, start, ())
        while path and path[-1][0] >= found.level:
            path.pop()
        path.append((found.level, text[found.start + found.level + 1 : found.end].strip()))
        start, own, whole = found.end, found.start, []
    if not path or text[start:].strip():
        yield Section(tuple(name for _, name in path), start, len(text), tuple(whole))
    else:
        yield Section(tuple(name for _, name in path[:-1]), own, len(text), ())


@dataclass(frozen=True, slots=True)
class _Mark:
    level: int  # of a heading; 0: code, or a row
    start: int
    end: int


def _marks(text: str) -> Iterator[_Mark]:
    at = 0
    while found := _MARK.search(text, at):
        at = found.end()
        if fence := found["fence"]:
            # Without an end it is none; each of these lengths is looked for once in vain at most.
            closing = re.compile(rf"^{fence}`*[ \t]*$", re.MULTILINE).search(text, at)
            if closing is None:
                continue
            at = closing.end()
        yield _Mark(len(found["level"] or ""), found.start(), at)
