"""`realm adopt`: documents taken from the payloads of a collection of Qdrant that is not ours."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from realm.cli.options import (
    DEFAULT_TIMEOUT,
    MOST,
    Address,
    AsJson,
    Timeout,
    check_packages,
    connect,
)
from realm.cli.output import messages, show
from realm.cli.resuming import Note
from realm.client import document
from realm.errors import InvalidInput
from realm.settings import load_settings
from realm.v1 import types_pb2


def register(app: typer.Typer) -> None:
    app.command()(adopt)


def adopt(
    collection: Annotated[str, typer.Argument(help="collection or alias")],
    text: Annotated[str, typer.Option(help="payload field with the text")],
    id_: Annotated[str, typer.Option("--id", help="… with the id; empty: the point's own")] = "",
    title: Annotated[str, typer.Option(help="… with the title; empty: none")] = "",
    answer: Annotated[str, typer.Option(help="… with what answers the text; empty: none")] = "",
    metadata: Annotated[
        list[str] | None,
        typer.Option(help="field to keep as metadata; repeatable; none named: all others"),
    ] = None,
    qdrant: Annotated[
        str, typer.Option(help="Qdrant's gRPC URL", show_default="REALM_QDRANT_URL")
    ] = "",
    most: Annotated[int, typer.Option(help="points in this run; 0: all", min=0, max=MOST)] = 0,
    from_the_start: Annotated[bool, typer.Option(help="do not go on from an earlier run")] = False,
    as_json: AsJson = False,
    address: Address = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Take documents from a collection of Qdrant, by named fields of its payload.

    Each point becomes a document; what already has its id is replaced. The collection is read, not
    changed: its users move when they like. A run that broke off goes on where it was.
    """
    check_packages("realm adopt", {"qdrant_client": "indexer"})
    from realm.search.vector_index import foreign_points

    settings = load_settings(**({"qdrant_url": qdrant} if qdrant else {}))
    fields = Fields(text, id_, title, answer, metadata)
    asked = [address, settings.addresses.qdrant_url, collection, asdict(fields)]
    run = Run(Note("adopted", asked), from_the_start)
    columns = (SpinnerColumn(), TextColumn("{task.completed} points"), TimeElapsedColumn())
    with (
        connect(address, timeout) as client,
        Progress(*columns, console=messages(), transient=True, disable=as_json) as progress,
    ):
        task = progress.add_task("adopt", completed=run.points, total=None)
        for page in foreign_points(settings, collection, run.after):
            made = [found for each in page if (found := fields.document(each.id, each.payload))]
            written = client.import_documents(made) if made else None
            run.advance(len(page), len(page) - len(made), page[-1].id, written)
            progress.update(task, completed=run.points)
            if most and run.now >= most:
                break
        else:
            run.end()
    words = f"{run.points} points read, {run.points - run.without_text} documents written"
    if run.without_text:
        words += f"; {run.without_text} have no text in {text!r}"
    if not run.ended:
        words += "; run it again to go on"
    show(run.result(), as_json, words)


@dataclass(frozen=True, slots=True)
class Fields:
    """Which fields of a payload make a document."""

    text: str
    id: str
    title: str
    answer: str
    metadata: list[str] | None

    def document(self, point: str | int, payload: Mapping[str, Any]) -> types_pb2.Document | None:
        """None if it has no text. :raises InvalidInput: if it has no id where one is named."""
        flat = dict(flattened(payload))
        if not flat.get(self.text, "").strip():
            return None
        named = flat.get(self.id, "") if self.id else str(point)
        if not named:
            raise InvalidInput(f"point {point} has no {self.id!r}: name another field by --id")
        used = {self.text, self.id, self.title, self.answer}
        kept = (
            self.metadata if self.metadata is not None else [key for key in flat if key not in used]
        )
        return document(
            named,
            flat[self.text],
            title=flat.get(self.title, "") if self.title else "",
            answer=flat.get(self.answer, "") if self.answer else "",
            metadata={key: flat[key] for key in kept if flat.get(key)},
        )


def flattened(payload: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Fields by dotted names, as texts; lists with commas between."""
    for key, value in payload.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flattened(value, f"{name}.")
        elif isinstance(value, list):
            yield name, ", ".join(_text(each) for each in value)
        elif value is not None:
            yield name, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class Run:
    """How far a collection was read, noted until the end."""

    def __init__(self, note: Note, from_the_start: bool) -> None:
        known = {} if from_the_start else note.read()
        self._note = note
        self.points = int(known.get("points", 0))
        self.without_text = int(known.get("without_text", 0))
        self.after: str | int | None = known.get("after")
        self.now = self.version = 0
        self.ended = False

    def advance(self, points: int, without_text: int, last: str | int, written: Any) -> None:
        self.points += points
        self.now += points
        self.without_text += without_text
        self.after = last
        if written is not None:
            self.version = written.corpus_version
        self._note.write(self.result())

    def end(self) -> None:
        self.ended = True
        self._note.delete()

    def result(self) -> dict[str, Any]:
        return {
            "points": self.points,
            "without_text": self.without_text,
            "after": self.after,
            "corpus_version": self.version,
            "ended": self.ended,
        }
