"""`realm corpus import`: files and folders, once or for as long as they change."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from realm.cli.mirror import Mirror, folder_changes
from realm.cli.options import (
    DEFAULT_TIMEOUT,
    Address,
    AsJson,
    Paths,
    Timeout,
    check_packages,
    connect,
)
from realm.cli.output import messages, show
from realm.cli.resuming import Resuming
from realm.client import Client
from realm.corpus.documents import Document
from realm.corpus.importers import SOURCE, Problem, Reading, describe_skipped, read_documents
from realm.errors import (
    DeadlinePassed,
    DependencyUnavailable,
    InvalidInput,
    NotReady,
    Overloaded,
    RealmError,
)
from realm.settings import load_settings
from realm.v1 import corpus_pb2, types_pb2

#: How many documents are looked up ahead of an import, how many at once; how many are named.
LOOKUP_BATCH = 64
LOOKUP_THREADS = 8
REPLACED_SHOWN = 10
#: What a document consists of, and may go by other names.
FIELDS = ("id", "title", "text", "answer", "metadata", "question")


def import_(
    paths: Paths,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="exit with 0 even if some were left out")
    ] = False,
    prefix: Annotated[
        str, typer.Option(help="prefix for each file's id, which keeps folders apart")
    ] = "",
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="FIELD=NAME: by which name a field goes in rows, as text=contents; repeatable"
        ),
    ] = None,
    encoding: Annotated[
        str,
        typer.Option(
            help="of texts without a byte order mark, as cp1252; else as they declare, or UTF-8"
        ),
    ] = "",
    mirror: Annotated[
        bool,
        typer.Option(
            "--mirror", help="write only what has changed, and delete what folders hold no longer"
        ),
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="mirror, and go on as files change until Ctrl-C")
    ] = False,
    as_json: AsJson = False,
    address: Address = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Import documents from files and folders; unusable ones are named and left out.

    A file's id is its path inside the given folder. A document with the same id from another
    place is replaced, and named. An import that was interrupted goes on where it was when the same
    command is given again.
    """
    given = Given(tuple(paths), prefix, _columns(column or []), encoding, quiet=as_json)
    with connect(address, timeout) as client:
        if follow:
            check_packages("realm corpus import --follow", {"watchfiles": "follow"})
            _follow(client, given, as_json)
            return
        done = _import(client, given, Mirror(client, paths) if mirror else None, address)
    _tell(done, as_json)
    if done.problems and not skip_bad:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class Given:
    """What to import, and how."""

    paths: tuple[Path, ...]
    prefix: str
    columns: dict[str, str]
    encoding: str
    quiet: bool


@dataclass(slots=True)
class Done:
    """One import. `resumed` documents were written by the one before, which was interrupted."""

    total: corpus_pb2.ImportDocumentsResponse
    seconds: float
    reading: Reading
    replaced: Replaced
    problems: list[Problem] = field(default_factory=list)
    mirrored: Mirror | None = None
    deleted: list[str] = field(default_factory=list)
    resumed: int = 0

    @property
    def changed(self) -> bool:
        return bool(self.total.documents_written or self.deleted or self.problems)

    @property
    def rate(self) -> float:
        """In documents/s."""
        return self.total.documents_written / self.seconds if self.seconds else 0.0


def _columns(given: list[str]) -> dict[str, str]:
    """:raises InvalidInput: naming what says nothing."""
    found: dict[str, str] = {}
    for each in given:
        name, equals, column = each.partition("=")
        if not equals or not column or name not in FIELDS:
            raise InvalidInput(
                f"--column {each} is not of the form FIELD=NAME, with one of {', '.join(FIELDS)}",
                field="column",
            )
        found[name] = column
    return found


def _import(client: Client, given: Given, mirrored: Mirror | None, address: str = "") -> Done:
    """What is mirrored has no need to be resumed: it writes what is not there yet."""
    began = time.monotonic()
    problems: list[Problem] = []
    reading = read_documents(
        given.paths,
        max_bytes=load_settings().corpus.max_document_bytes,
        prefix=given.prefix,
        columns=given.columns,
        encoding=given.encoding,
        skip=mirrored.is_unchanged if mirrored else lambda path, document_id: False,
    )
    documents: Iterable[types_pb2.Document]
    usable, replaced, resuming = _usable(reading, problems), Replaced(client), None
    if mirrored is not None:
        mirrored.begin()
        documents = mirrored.changed(map(_message, usable))
    else:
        resuming = Resuming.of([address, given.prefix, given.columns, given.encoding], given.paths)
        documents = map(_message, islice(usable, resuming.done, None))
    resumed = resuming.done if resuming else 0
    total = _write(client, replaced.watch(documents), reading, resuming, quiet=given.quiet)
    gone = mirrored.delete_missing(problems) if mirrored else []
    if resuming is not None:
        resuming.end()
    seconds = time.monotonic() - began
    return Done(total, seconds, reading, replaced, problems, mirrored, gone, resumed)


def _write(
    client: Client,
    documents: Iterable[types_pb2.Document],
    reading: Reading,
    resuming: Resuming | None,
    *,
    quiet: bool,
) -> corpus_pb2.ImportDocumentsResponse:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.completed:,.0f} documents, {task.fields[rate]:,.0f}/s"),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=messages(), transient=True, disable=quiet) as progress:
        task = progress.add_task("", total=None, rate=0.0)

        def written(count: int) -> None:
            if resuming is not None:
                resuming.written(count)
            rate = progress.tasks[0].speed or 0.0
            progress.update(task, advance=count, rate=rate, description=str(reading.at or ""))

        return client.import_documents(
            documents,
            name=resuming.name if resuming else "",
            after=resuming.done if resuming else 0,
            on_written=written,
        )


def _follow(client: Client, given: Given, as_json: bool) -> None:
    """Until Ctrl-C. What fails for the moment is tried again at the next change, or soon."""
    mirrored: Mirror | None = None
    with suppress(KeyboardInterrupt):  # in the middle of an import too, which the next one ends
        for _ in folder_changes(given.paths):
            try:
                mirrored = mirrored or Mirror(client, given.paths)
                done = _import(client, given, mirrored)
            except (DeadlinePassed, DependencyUnavailable, NotReady, Overloaded) as error:
                messages().print(error.message, markup=False)
                mirrored = None  # what it takes for written may not be
                continue
            if done.changed:
                _tell(done, as_json)


def _tell(done: Done, as_json: bool) -> None:
    done.replaced.warn()
    total, mirrored = done.total, done.mirrored
    result: dict[str, Any] = {
        "documents_written": total.documents_written,
        "documents_per_second": round(done.rate, 1),
        "resumed_after": done.resumed,
        "corpus_version": total.corpus_version,
        "problems": [
            {"path": str(each.path), "line": each.line, "message": each.message}
            for each in done.problems
        ],
        "files_not_read": done.reading.skipped,
        "replaced": done.replaced.found,
        "unchanged": mirrored.unchanged if mirrored else 0,
        "deleted": done.deleted,
    }
    version = f", corpus version {total.corpus_version}" if total.corpus_version else ""
    words = f"{total.documents_written} documents written{version}; {len(done.problems)} left out"
    if mirrored is not None:
        words += f"; {mirrored.unchanged} unchanged, {len(done.deleted)} deleted"
    if done.resumed:
        words += f"\nwent on after {done.resumed} documents that were written before"
    if done.reading.skipped:
        words += f"\n{describe_skipped(done.reading.skipped)}"
    show(result, as_json, words)


def _usable(found: Iterable[Document | Problem], problems: list[Problem]) -> Iterator[Document]:
    console = messages()
    for each in found:
        if isinstance(each, Problem):
            problems.append(each)
            console.print(str(each), markup=False)
        else:
            yield each


def _message(given: Document) -> types_pb2.Document:
    """Of a document that was checked when it was read."""
    return types_pb2.Document(
        id=given.id,
        title=given.title,
        text=given.text,
        metadata=given.metadata,
        answer=given.answer,
    )


class Replaced:
    """Documents that an import replaces though they came from another file: two folders, one path.

    Only files are looked up: ids in JSON Lines are chosen by their author.
    """

    def __init__(self, client: Client) -> None:
        #: The documents replaced, each with its former source; empty: unknown.
        self.found: list[dict[str, str]] = []
        self._client = client

    def watch(self, documents: Iterable[types_pb2.Document]) -> Iterator[types_pb2.Document]:
        """Yields the same documents, each batch after looking it up."""
        documents = iter(documents)
        with ThreadPoolExecutor(LOOKUP_THREADS) as threads:
            while batch := list(islice(documents, LOOKUP_BATCH)):
                files = [each for each in batch if SOURCE in each.metadata]
                for document, source in zip(files, threads.map(self._source, files), strict=True):
                    if source is not None and source != document.metadata[SOURCE]:
                        self.found.append({"id": document.id, SOURCE: source})
                yield from batch

    def warn(self) -> None:
        """Names the documents found, on stderr."""
        lines = [
            f"{each['id']} replaces a document that came from {each[SOURCE] or 'somewhere else'}"
            for each in self.found[:REPLACED_SHOWN]
        ]
        if (more := len(self.found) - REPLACED_SHOWN) > 0:
            lines.append(f"and {more} more")
        if lines:
            lines.append("give --prefix NAME to keep folders apart")
        for line in lines:
            messages().print(line, markup=False)

    def _source(self, document: types_pb2.Document) -> str | None:
        """The source of the stored document of this id; None if there is none, or it is unknown."""
        try:
            stored = self._client.get(document.id).document
        except RealmError:  # no such document; or the write will meet the same fault
            return None
        return str(stored.metadata.get(SOURCE, ""))
