"""`realm corpus verify-erased`: nothing is left of deleted documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from realm.cli.json_output import to_json
from realm.cli.options import AsJson, messages, output
from realm.cli.packages import check_packages
from realm.cli.stores import StoreUrl, open_store, settings_with

if TYPE_CHECKING:
    from realm.corpus.erasure import Trace, Wanted
    from realm.settings import Settings

NEEDS = {"obstore": "service", "pyarrow": "service", "qdrant_client": "indexer"}


def verify_erased(
    document_ids: Annotated[list[str], typer.Argument(help="ids of deleted documents")],
    text: Annotated[
        list[str] | None, typer.Option(help="a piece of their text to look for; repeatable")
    ] = None,
    store: StoreUrl = "",
    as_json: AsJson = False,
) -> None:
    """Read every file of the store and every collection; exit with 1 if anything is left."""
    check_packages("realm corpus verify-erased", NEEDS)
    from realm.corpus.erasure import Wanted, search_store

    settings = settings_with(store)
    opened = open_store(settings)
    wanted = Wanted(document_ids, text or [])
    with messages().status("looking") as status:
        found = search_store(
            opened, wanted, lambda done, total: status.update(f"{done} of {total} files")
        )
        collections, traces = _in_collections(settings, wanted)
    found += traces
    if as_json:
        plain = [{"place": each.place, "found": each.found} for each in found]
        output().out(to_json({"collections": collections, "traces": plain}))
    else:
        for each in found:
            output().print(f"{each.place}: {each.found}", markup=False)
        if not found:
            output().print(f"Nothing is left in the store and in {collections} collections.")
    if found:
        raise typer.Exit(1)


def _in_collections(settings: Settings, wanted: Wanted) -> tuple[int, list[Trace]]:
    """How many collections there are, and what was found there.

    :raises DependencyUnavailable: if Qdrant cannot be asked: nothing is proven then.
    """
    from realm.corpus.erasure import search_collections
    from realm.search.vector_index import open_index

    index = open_index(settings)
    try:
        names = index.collections()
        return len(names), search_collections(names, index.count_of, wanted)
    finally:
        index.close()
