"""Consoles that bear any text on any terminal: what is stored is shown, made harmless."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions
from rich.segment import Segment

#: Control characters would move the cursor, or give a terminal orders.
HARMLESS = {
    number: "\N{REPLACEMENT CHARACTER}"
    for number in (*range(0x20), *range(0x7F, 0xA0))
    if chr(number) not in "\n\t"
}


class Terminal(Console):
    """A console whose texts give the terminal no orders; its own styles do."""

    def render(self, renderable: Any, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield segment._replace(text=segment.text.translate(HARMLESS))


def replace_what_the_encoding_lacks() -> None:
    """On stdout and stderr, for the rest of the process."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
