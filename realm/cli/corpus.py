"""`realm corpus`: import, add, delete, get, list, parked."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.text import Text

from realm.cli.importing import import_
from realm.cli.options import (
    DEFAULT_TIMEOUT,
    MOST,
    STORE,
    Address,
    AsJson,
    StoreUrl,
    Timeout,
    Where,
    check_packages,
    connect,
    open_store,
    settings_with,
)
from realm.cli.output import ago, messages, rows_table, show
from realm.client import document
from realm.corpus.plain_text import decode
from realm.errors import InvalidInput
from realm.settings import Settings

if TYPE_CHECKING:
    from realm.corpus.erasure import ErasureQuery, Trace


def register(app: typer.Typer) -> None:
    corpus = typer.Typer(help="Write and read documents.", no_args_is_help=True)
    corpus.command("import")(import_)
    corpus.command()(add)
    corpus.command()(delete)
    corpus.command("get")(get)
    corpus.command("list")(list_)
    corpus.command()(parked)
    corpus.command("verify-erased")(verify_erased)
    app.add_typer(corpus, name="corpus")


def add(
    document_id: Annotated[str, typer.Option("--id", help="the document's id")],
    text: Annotated[str, typer.Option(help="its text")] = "",
    file: Annotated[Path | None, typer.Option(help="a file with its text, - for stdin")] = None,
    title: Annotated[str, typer.Option(help="its title")] = "",
    metadata: Annotated[list[str] | None, typer.Option(help="key=value; repeatable")] = None,
    answer: Annotated[str, typer.Option(help="what answers it, where the text is a question")] = "",
    as_json: AsJson = False,
    address: Address = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Write one document, replacing that of the same id."""
    pairs = dict(_pair(each) for each in metadata or [])
    words = _text(text, file)
    made = document(document_id, words, title=title, metadata=pairs, answer=answer)
    with connect(address, timeout) as client:
        written = client.upsert([made])
    show(written, as_json, f"written, corpus version {written.corpus_version}")


def delete(
    document_ids: Annotated[list[str] | None, typer.Argument(help="ids of documents")] = None,
    where: Where = None,
    as_json: AsJson = False,
    address: Address = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Delete documents, by their ids or by their metadata."""
    if not document_ids and not where:
        raise InvalidInput("name the documents to delete, or give --where", field="document_ids")
    count = 0
    with connect(address, timeout) as client:
        more = True
        while more:
            deleted = client.delete(document_ids or [], where=where)
            count, more = count + deleted.documents_deleted, deleted.more
    deleted.documents_deleted = count
    words = f"{count} documents deleted" if where else "deleted"
    show(deleted, as_json, f"{words}, corpus version {deleted.corpus_version}")


def list_(
    where: Where = None,
    limit: Annotated[int, typer.Option(help="how many at most", min=1, max=MOST)] = 100,
    as_json: AsJson = False,
    address: Address = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """List documents with their metadata, without their texts."""
    with connect(address, timeout) as client:
        found = list(islice(client.documents(where=where), limit + 1))
    shown, more = found[:limit], len(found) > limit
    rows = [
        {
            "document": each.document.id,
            "version": each.document_version,
            "title": each.document.title,
            "metadata": ", ".join(f"{k}={v}" for k, v in sorted(each.document.metadata.items())),
        }
        for each in shown
    ]
    tail = [f"and more: give --limit {2 * limit}"] if more else []
    result = {"documents": shown, "more": more}
    show(result, as_json, Group(rows_table(rows), *tail) if rows else "none")


def get(
    document_id: Annotated[str, typer.Argument(help="id of a document")],
    as_json: AsJson = False,
    address: Address = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Print a document as it was last written."""
    with connect(address, timeout) as client:
        found = client.get(document_id)
    given = found.document
    lines = [Text(given.title, style="bold")] if given.title else []
    lines += [Text(each) for each in (given.text, given.answer) if each]
    pairs = [f"{key}: {value}" for key, value in sorted(given.metadata.items())]
    pairs.append(f"written at corpus version {found.document_version}")
    lines += [Text(line, style="dim") for line in pairs]
    show(found, as_json, Group(*lines))


def parked(
    as_json: AsJson = False, address: Address = "", timeout: Timeout = DEFAULT_TIMEOUT
) -> None:
    """List documents that are in no index because embedding them fails."""
    with connect(address, timeout) as client:
        status = client.status()
    rows = [
        {
            "document": each.document_id,
            "version": each.version,
            "parked": f"{ago(each.parked_at)} ago",
            "reason": each.reason,
        }
        for each in status.parked
    ]
    more = status.parked_documents - len(rows)
    tail = [f"and {more} more"] if more > 0 else []
    result = {"parked": list(status.parked), "parked_documents": status.parked_documents}
    show(result, as_json, Group(rows_table(rows), *tail) if rows else "none")


def verify_erased(
    document_ids: Annotated[list[str], typer.Argument(help="ids of deleted documents")],
    text: Annotated[
        list[str] | None, typer.Option(help="a piece of their text to search for; repeatable")
    ] = None,
    store: StoreUrl = "",
    as_json: AsJson = False,
) -> None:
    """Check that nothing is left of deleted documents; exit with 1 if anything is.

    Reads every file of the store and every collection.
    """
    check_packages("realm corpus verify-erased", {**STORE, "qdrant_client": "indexer"})
    from realm.corpus.erasure import ErasureQuery, search_store

    settings = settings_with(store)
    opened = open_store(settings)
    wanted = ErasureQuery(document_ids, text or [])
    with messages().status("searching") as status:
        found = search_store(
            opened, wanted, lambda done, total: status.update(f"{done} of {total} files")
        )
        collections, traces = _search_collections(settings, wanted)
    found += traces
    result = {
        "collections": collections,
        "traces": [{"place": each.place, "found": each.found} for each in found],
    }
    words = [f"{each.place}: {each.found}" for each in found] or [
        f"Nothing is left in the store and in {collections} collections."
    ]
    show(result, as_json, "\n".join(words))
    if found:
        raise typer.Exit(1)


def _search_collections(settings: Settings, wanted: ErasureQuery) -> tuple[int, list[Trace]]:
    """The number of collections, and what was found there.

    :raises DependencyUnavailable: if Qdrant does not answer: then nothing is proven.
    """
    from realm.corpus.erasure import search_collections
    from realm.search.vector_index import open_index

    index = open_index(settings)
    try:
        names = index.collections()
        return len(names), search_collections(names, index.count_of, wanted)
    finally:
        index.close()


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
