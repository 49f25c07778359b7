"""`realm corpus`: import, add, delete, get, parked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from realm.cli.erasure import verify_erased
from realm.cli.format import parked_table
from realm.cli.json_output import to_json
from realm.cli.options import (
    DEFAULT_TIMEOUT,
    Address,
    AsJson,
    Paths,
    Timeout,
    connect,
    messages,
    output,
)
from realm.cli.replaced import Replaced
from realm.client import Client, document
from realm.corpus.documents import Document
from realm.corpus.importers import Problem, in_words, read_documents
from realm.corpus.plain_text import decode
from realm.errors import InvalidInput
from realm.settings import load_settings
from realm.v1 import corpus_pb2, types_pb2


def register(app: typer.Typer) -> None:
    corpus = typer.Typer(help="Write and read documents.", no_args_is_help=True)
    corpus.command("import")(import_)
    corpus.command()(add)
    corpus.command()(delete)
    corpus.command()(get)
    corpus.command()(parked)
    corpus.command("verify-erased")(verify_erased)
    app.add_typer(corpus, name="corpus")


def import_(
    paths: Paths,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="exit with 0 though some were left out")
    ] = False,
    prefix: Annotated[
        str, typer.Option(help="a name before each file's id: folders stay apart")
    ] = "",
    as_json: AsJson = False,
    address: Address = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Import documents from files and folders; what is unusable is named and left out.

    A file's id is its path inside the folder given. What lies elsewhere under the same id is
    replaced, and named.
    """
    problems: list[Problem] = []
    found = read_documents(
        paths, max_bytes=load_settings().corpus.max_document_bytes, prefix=prefix
    )
    with connect(address, timeout) as client:
        replaced = Replaced(client)
        documents = replaced.watch(_usable(found, problems))
        total = _import(client, documents, quiet=as_json)
    replaced.tell(messages())
    if as_json:
        output().out(
            to_json(
                {
                    "documents_written": total.documents_written,
                    "corpus_version": total.corpus_version,
                    "problems": [
                        {"path": str(each.path), "line": each.line, "message": each.message}
                        for each in problems
                    ],
                    "files_not_read": found.left_out,
                    "replaced": replaced.found,
                }
            )
        )
    else:
        output().print(
            f"{total.documents_written} documents written, corpus version"
            f" {total.corpus_version}; {len(problems)} left out"
        )
        if found.left_out:
            output().print(in_words(found.left_out), markup=False)
    if problems and not skip_bad:
        raise typer.Exit(1)


def add(
    document_id: Annotated[str, typer.Option("--id", help="the document's id")],
    text: Annotated[str, typer.Option(help="its text")] = "",
    file: Annotated[Path | None, typer.Option(help="a file with its text, - for stdin")] = None,
    title: Annotated[str, typer.Option(help="its title")] = "",
    metadata: Annotated[list[str] | None, typer.Option(help="key=value; repeatable")] = None,
    as_json: AsJson = False,
    address: Address = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Write one document; an id that exists is replaced."""
    pairs = dict(_pair(each) for each in metadata or [])
    made = document(document_id, _text(text, file), title=title, metadata=pairs)
    with connect(address, timeout) as client:
        written = client.upsert([made])
    if as_json:
        output().out(to_json(written))
    else:
        output().print(f"written, corpus version {written.corpus_version}")


def delete(
    document_ids: Annotated[list[str], typer.Argument(help="ids of documents")],
    as_json: AsJson = False,
    address: Address = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Delete documents."""
    with connect(address, timeout) as client:
        deleted = client.delete(document_ids)
    if as_json:
        output().out(to_json(deleted))
    else:
        output().print(f"deleted, corpus version {deleted.corpus_version}")


def get(
    document_id: Annotated[str, typer.Argument(help="id of a document")],
    as_json: AsJson = False,
    address: Address = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Print a document as it was last written."""
    with connect(address, timeout) as client:
        found = client.get(document_id)
    console = output()
    if as_json:
        console.out(to_json(found))
        return
    if found.document.title:
        console.print(found.document.title, style="bold", markup=False)
    console.print(found.document.text, markup=False)
    for key, value in sorted(found.document.metadata.items()):
        console.print(f"{key}: {value}", style="dim", markup=False)
    console.print(f"written at corpus version {found.document_version}", style="dim")


def parked(
    as_json: AsJson = False, address: Address = "", timeout: Timeout = DEFAULT_TIMEOUT
) -> None:
    """List documents that are in no index, as no embedder gets through them."""
    with connect(address, timeout) as client:
        status = client.status()
    if as_json:
        output().out(
            to_json({"parked": list(status.parked), "parked_documents": status.parked_documents})
        )
        return
    if not status.parked_documents:
        output().print("none")
        return
    output().print(parked_table(status.parked))
    if (more := status.parked_documents - len(status.parked)) > 0:
        output().print(f"and {more} more")


def _import(
    client: Client, documents: Iterable[types_pb2.Document], *, quiet: bool
) -> corpus_pb2.ImportDocumentsResponse:
    columns = (SpinnerColumn(), TextColumn("{task.completed} documents"), TimeElapsedColumn())
    with Progress(*columns, console=messages(), transient=True, disable=quiet) as progress:
        task = progress.add_task("import", total=None)
        return client.import_documents(
            documents, on_written=lambda count: progress.advance(task, count)
        )


def _usable(
    found: Iterable[Document | Problem], problems: list[Problem]
) -> Iterator[types_pb2.Document]:
    console = messages()
    for each in found:
        if isinstance(each, Problem):
            problems.append(each)
            console.print(str(each), markup=False)
        else:
            yield document(each.id, each.text, title=each.title, metadata=each.metadata)


def _text(text: str, file: Path | None) -> str:
    if (file is None) == (not text):
        raise InvalidInput("give the document's text with either --text or --file", field="text")
    if file is None:
        return text
    try:
        data = typer.get_binary_stream("stdin").read() if str(file) == "-" else file.read_bytes()
        return decode(data)
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}", field="file") from error
    except InvalidInput as error:
        raise InvalidInput(f"{file} is {error.message}", field="file") from error


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InvalidInput(f"--metadata {text} is not of the form key=value", field="metadata")
    return key, value
