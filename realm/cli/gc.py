"""`realm gc`: what nobody needs any more, and why."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from realm.cli.json_output import to_json
from realm.cli.options import AsJson, messages, output
from realm.cli.packages import check_packages
from realm.cli.snapshots import NEEDS, size
from realm.cli.stores import StoreUrl, open_store, settings_with
from realm.errors import DependencyUnavailable

if TYPE_CHECKING:
    from realm.records.retention import Removal
    from realm.settings import Settings

SHOWN = 5


def register(app: typer.Typer) -> None:
    app.command("gc")(gc)


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only show what would go")] = False,
    every: Annotated[bool, typer.Option("--all", help="name every file")] = False,
    store: StoreUrl = "",
    as_json: AsJson = False,
) -> None:
    """Tidy up: files, snapshots and collections that nobody needs. The leading indexer does it
    every minute anyway; without --dry-run it is asked for a round now."""
    check_packages("realm gc", NEEDS)
    from realm.records.generations import Generations
    from realm.records.recorded_questions import Bounds
    from realm.records.retention import ASKED, Retention
    from realm.records.snapshots import Snapshots
    from realm.records.strays import Strays

    settings = settings_with(store)
    opened = open_store(settings)
    retention = Retention(
        opened,
        Snapshots(opened),
        Generations(opened),
        settings.indexer.retirement_seconds,
        settings.gate.memory,
        Bounds.of(settings),
        # For a look, stamps will do.
        age=lambda _, stamp: time.time() - stamp,
    )
    found = retention.plan(time.time(), collections=_collections(settings))
    if as_json:
        output().out(to_json([_plain(each) for each in found]))
    else:
        _show(found, every)
    for stray in Strays(opened).look():
        messages().print(f"passed over: {stray.path}: {stray.why}", style="dim", markup=False)
    if not dry_run:
        opened.write_json(ASKED, {"at": time.time()})
        messages().print("the leading indexer is asked to tidy up now")


def _collections(settings: Settings) -> list[str]:
    """Without Qdrant at hand its part is left out, and that is said."""
    check_packages("realm gc", {"qdrant_client": "indexer"})
    from realm.search.vector_index import open_index

    index = open_index(settings)
    try:
        return index.collections()
    except DependencyUnavailable as error:
        messages().print(f"collections are left out: {error.message}", style="dim", markup=False)
        return []
    finally:
        index.close()


def _show(found: list[Removal], every: bool) -> None:
    if not found:
        output().print("Nothing is there that nobody needs.")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("what", "how many", "size", "why"):
        table.add_column(heading)
    for (kind, why), group in _grouped(found).items():
        table.add_row(kind, str(len(group)), size(sum(each.size for each in group)), why)
        for each in group if every else group[:SHOWN]:
            table.add_row("", "", size(each.size) if each.size else "", f"[dim]{each.name}[/]")
        if not every and len(group) > SHOWN:
            table.add_row("", "", "", f"[dim]… and {len(group) - SHOWN} more; --all names them[/]")
    output().print(table)
    output().print(f"{len(found)} things, {size(sum(each.size for each in found))}")


def _grouped(found: list[Removal]) -> dict[tuple[str, str], list[Removal]]:
    groups: dict[tuple[str, str], list[Removal]] = defaultdict(list)
    for each in found:
        groups[each.kind, each.why].append(each)
    return groups


def _plain(removal: Removal) -> dict[str, object]:
    return {
        "kind": removal.kind, "name": removal.name, "size": removal.size, "why": removal.why,
    }  # fmt: skip
