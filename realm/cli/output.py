"""How results are printed: in words or as JSON, on any terminal and in any encoding.

A command hands its result to `show`. Words come from `fields_table` and `rows_table`, which print
every field of a message by its type: a new field needs no change here.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

#: Control characters would move the cursor, or give a terminal orders.
HARMLESS = {
    number: "\N{REPLACEMENT CHARACTER}"
    for number in (*range(0x20), *range(0x7F, 0xA0))
    if chr(number) not in "\n\t"
}


class Terminal(Console):
    """A console that prints texts without their control characters; styles still work."""

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


def output() -> Console:
    """For results. Made at each call: tests and pipes exchange stdout."""
    return Terminal(highlight=False, soft_wrap=True)


def messages() -> Console:
    """For progress and problems: results stay clean on stdout."""
    return Terminal(stderr=True, highlight=False, soft_wrap=True)


def show(
    result: object, as_json: bool, words: RenderableType, pipe_width: int | None = None
) -> None:
    """Prints a result as one line of JSON, or its words, in which strings hold no markup.

    :param pipe_width: columns of words that go into a pipe; None: those of the environment.
    """
    console = output()
    if as_json:
        console.out(to_json(result))
        return
    if pipe_width is not None and not console.is_terminal:
        console.width = pipe_width
    console.print(words, markup=False)


def to_json(value: object) -> str:
    """One line."""
    return json.dumps(to_plain(value), ensure_ascii=False)


def to_plain(value: Any) -> Any:
    """Scalars are always there, messages only when set; enums by name, durations in seconds."""
    if isinstance(value, Timestamp):
        return value.ToJsonString()
    if isinstance(value, Duration):
        return value.ToNanoseconds() / 1e9
    if isinstance(value, Message):
        return {
            field.name: _plain_field(field, getattr(value, field.name))
            for field in value.DESCRIPTOR.fields
            if not field.has_presence or value.HasField(field.name)
        }
    if isinstance(value, Mapping):
        return {key: to_plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(each) for each in value]
    return value


def _plain_field(field: Any, value: Any) -> Any:
    if _is_map(field):
        return {key: to_plain(value[key]) for key in sorted(value)}
    if field.is_repeated:
        return [to_plain(each) for each in value]
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    return to_plain(value)


def _is_map(field: Any) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


#: A name, and what stands beside it.
Row = tuple[str, str | Text]
#: Words for messages of a type, by its name.
Formats = Mapping[str, Callable[[Any], str]]


def field_rows(
    message: Message, special: Mapping[str, Sequence[Row]], formats: Formats
) -> list[Row]:
    """A row for each field that is set, in the order of the message's definition.

    :param special: rows to show in place of a field, set or not; none hide it.
    """
    given = {field.name for field, _ in message.ListFields()}
    rows: list[Row] = []
    for field in message.DESCRIPTOR.fields:
        if field.name in special:
            rows += special[field.name]
        elif field.name in given:
            rows += _rows_of(field, getattr(message, field.name), formats)
    return rows


def _rows_of(field: Any, value: Any, formats: Formats) -> list[Row]:
    name = field.name.replace("_", " ")
    if _is_map(field):
        return [(f"{name}: {key}", in_words(value[key], formats)) for key in sorted(value)]
    if field.is_repeated:
        return [(name.removesuffix("s"), in_words(each, formats)) for each in value]
    if field.enum_type is not None:
        return [(name, enum_words(field.enum_type, value))]
    return [(name, in_words(value, formats))]


def in_words(value: Any, formats: Formats) -> str:
    """A field's value; a message without a format shows its fields in a line."""
    if isinstance(value, Timestamp):
        return f"{ago(value)} ago"
    if isinstance(value, Duration):
        return duration(value.ToNanoseconds() / 1e9)
    if isinstance(value, Message):
        if found := formats.get(value.DESCRIPTOR.name):
            return found(value)
        return ", ".join(f"{name} {words}" for name, words in field_rows(value, {}, formats))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def enum_words(enum: Any, number: int) -> str:
    """`GENERATION_STATE_LIVE` → `live`: the name without what all of the enum's names share."""
    prefix = "_".join(enum.values[0].name.split("_")[:-1])
    name: str = enum.values_by_number[number].name
    return name.removeprefix(f"{prefix}_").lower().replace("_", " ")


def fields_table(rows: Iterable[Row]) -> Table:
    """A name and its value on each line."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column()
    for name, value in rows:
        table.add_row(Text(name), value if isinstance(value, Text) else Text(value))
    return table


def rows_table(rows: Sequence[Mapping[str, object]]) -> Table:
    """A line for each of rows with the same columns."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in rows[0]:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(
            *(each if isinstance(each, Text) else Text(str(each)) for each in row.values())
        )
    return table


def duration(seconds: float) -> str:
    """`75` → `1 min 15 s`, to two units."""
    whole = max(0, round(seconds))
    parts = []
    for name, unit in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, whole = divmod(whole, unit)
        if count:
            parts.append(f"{count} {name}")
    return " ".join(parts[:2]) or "0 s"


def ago(moment: Timestamp | float) -> str:
    """The time since a moment; a float is Unix time in seconds."""
    at = moment.ToNanoseconds() / 1e9 if isinstance(moment, Timestamp) else moment
    return duration(time.time() - at)


def size(count: float) -> str:
    """`1536` → `1.5 KiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
