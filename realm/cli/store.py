"""`realm snapshots`, `gc` and `recorded`: commands that read and write the store itself."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from realm.cli.options import (
    MODEL,
    MOST,
    STORE,
    AsJson,
    Reason,
    StoreUrl,
    check_packages,
    open_store,
    settings_with,
)
from realm.cli.output import Row, ago, fields_table, messages, output, rows_table, show, size
from realm.errors import DependencyUnavailable
from realm.settings import Settings

if TYPE_CHECKING:
    from realm.records.retention import Removal
    from realm.records.snapshots import Snapshot, Snapshots

SNAPSHOT_PACKAGES = {"obstore": "service", "redis": "service"}
#: Files named of each kind of thing to collect, without --all.
FILES_SHOWN = 5

Number = Annotated[int, typer.Argument(help="number of a snapshot", min=0, max=MOST)]


def register(app: typer.Typer) -> None:
    snapshots = typer.Typer(help="Models that an index can be built from.", no_args_is_help=True)
    snapshots.command()(publish)
    snapshots.command("list")(list_snapshots)
    snapshots.command("show")(show_snapshot)
    snapshots.command()(pin)
    snapshots.command()(unpin)
    app.add_typer(snapshots, name="snapshots")
    app.command("gc")(gc)
    recorded = typer.Typer(
        help="Users' questions, if REALM_RECORD_QUESTIONS keeps any.", no_args_is_help=True
    )
    recorded.command("list")(list_recorded)
    recorded.command()(forget)
    app.add_typer(recorded, name="recorded")


def publish(
    source: Annotated[
        str,
        typer.Argument(
            help="a Hugging Face encoder's or sentence-transformers folder, a hub name, or the"
            " folder of a realm model"
        ),
    ],
    step: Annotated[int, typer.Option(help="training step of the model", min=0, max=MOST)] = 0,
    store: StoreUrl = "",
    as_json: AsJson = False,
) -> None:
    """Publish a model as the newest snapshot; a running cluster moves to it by itself.

    Passages are cut for its tokenizer, embedded into a new collection and compared by the gate;
    only then does it go live. A running trainer then goes on from it.
    """
    check_packages("realm snapshots publish", {**SNAPSHOT_PACKAGES, **MODEL})
    from realm.model.publishing import load_source, publish_model
    from realm.process.wakeup import Wakeup
    from realm.records.snapshots import Snapshots

    settings = settings_with(store)
    snapshots = Snapshots(open_store(settings, may_be_new=True))
    before = snapshots.newest()
    with messages().status(f"reading {escape(source)}"):
        model = load_source(source, settings)
    with messages().status("publishing"):
        published = publish_model(snapshots, model, step=step)
    wakeup = Wakeup(settings.addresses.redis_url)
    wakeup.send("snapshot")
    wakeup.close()
    words = (
        f"snapshot {published.number}: {model.config.base_name or 'a model'},"
        f" {published.vector_size} dimensions, {model.config.pooling} pooling"
    )
    if before is not None and before.fingerprint != published.fingerprint:
        words += "; its tokenizer or lengths differ, so all passages are cut anew"
    show(_plain(published, snapshots.pinned()), as_json, words)


def list_snapshots(store: StoreUrl = "", as_json: AsJson = False) -> None:
    """List the snapshots in the store, newest first."""
    snapshots = _open(store)
    found, pinned = list(reversed(snapshots.all())), snapshots.pinned()
    rows = [
        {
            "snapshot": each.number,
            "step": each.step,
            "published": f"{ago(each.created_at)} ago",
            "dimensions": each.vector_size,
            "fingerprint": each.fingerprint,
            "size": size(sum(file.size for file in each.files.values())),
            "": "pinned" if each.number in pinned else "",
        }
        for each in found
    ]
    words = rows_table(rows) if rows else "There is no snapshot in this store yet."
    show([_plain(each, pinned) for each in found], as_json, words)


def show_snapshot(number: Number, store: StoreUrl = "", as_json: AsJson = False) -> None:
    """Show one snapshot: its files, its figures, whether it is pinned."""
    snapshots = _open(store)
    found, pinned = snapshots.get(number), snapshots.pinned()
    rows: list[Row] = [
        ("snapshot", str(found.number)),
        ("step", str(found.step)),
        ("published", f"{ago(found.created_at)} ago"),
        ("dimensions", str(found.vector_size)),
        ("fingerprint", found.fingerprint),
    ]
    if found.parent is not None:
        rows.append(("parent", str(found.parent)))
    if number in pinned:
        rows.append(("pinned", pinned[number] or "yes"))
    rows += [
        (name, f"{size(file.size)}, sha256 {file.sha256[:16]}…")
        for name, file in sorted(found.files.items())
    ]
    rows += [(name, f"{value:.6g}") for name, value in sorted(found.metrics.items())]
    show(_plain(found, pinned), as_json, fields_table(rows))


def pin(number: Number, reason: Reason = "", store: StoreUrl = "") -> None:
    """Keep a snapshot until it is unpinned, even if nothing refers to it."""
    _open(store).pin(number, reason)
    output().print(f"snapshot {number} is pinned")


def unpin(number: Number, store: StoreUrl = "") -> None:
    """Let a snapshot be collected once nothing needs it."""
    _open(store).unpin(number)
    output().print(f"snapshot {number} is not pinned")


def _open(store: str) -> Snapshots:
    check_packages("realm snapshots", SNAPSHOT_PACKAGES)
    from realm.records.snapshots import Snapshots

    return Snapshots(open_store(settings_with(store)))


def _plain(snapshot: Snapshot, pinned: dict[int, str]) -> dict[str, object]:
    values = asdict(snapshot)
    number = values.pop("number")
    return {"snapshot": number, **values, "pinned": number in pinned}


def gc(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="only show what would be collected")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="name every file")] = False,
    store: StoreUrl = "",
    as_json: AsJson = False,
) -> None:
    """Collect files, snapshots and collections that nothing needs any more.

    The leading indexer does it every minute anyway; without --dry-run it is asked to do it now.
    """
    check_packages("realm gc", SNAPSHOT_PACKAGES)
    from realm.records.controls import COLLECT
    from realm.records.generations import Generations
    from realm.records.recorded_questions import Bounds
    from realm.records.retention import Retention
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
        # Timestamps are exact enough to show.
        age=lambda _, stamp: time.time() - stamp,
    )
    found = retention.plan(time.time(), collections=_collections(settings))
    show(
        [
            {"kind": each.kind, "name": each.name, "size": each.size, "why": each.why}
            for each in found
        ],
        as_json,
        _removals(found, every),
    )
    for stray in Strays(opened).scan():
        messages().print(f"skipped: {stray.path}: {stray.why}", style="dim", markup=False)
    if not dry_run:
        opened.write_json(COLLECT, {"at": time.time()})
        messages().print("asked the leading indexer to collect now")


def _collections(settings: Settings) -> list[str]:
    """The names of Qdrant's collections; none, with a message, if it does not answer."""
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


def _removals(found: list[Removal], every: bool) -> RenderableType:
    if not found:
        return "Nothing to collect."
    groups: dict[tuple[str, str], list[Removal]] = defaultdict(list)
    for each in found:
        groups[each.kind, each.why].append(each)
    rows: list[dict[str, object]] = []
    for (kind, why), group in groups.items():
        rows.append(_removal(kind, len(group), size(sum(each.size for each in group)), why))
        shown = group if every else group[:FILES_SHOWN]
        rows += [
            _removal("", "", size(each.size) if each.size else "", Text(each.name, style="dim"))
            for each in shown
        ]
        if more := len(group) - len(shown):
            rest = Text(f"… and {more} more; --all names them", style="dim")
            rows.append(_removal("", "", "", rest))
    total = f"{len(found)} items, {size(sum(each.size for each in found))}"
    return Group(rows_table(rows), total)


def _removal(kind: str, count: object, size: str, why: object) -> dict[str, object]:
    return {"kind": kind, "count": count, "size": size, "why": why}


def list_recorded(store: StoreUrl = "", as_json: AsJson = False) -> None:
    """List the questions in the store, newest first."""
    check_packages("realm recorded", STORE)
    from realm.records.recorded_questions import RecordedQuestions

    found = RecordedQuestions(open_store(settings_with(store))).all()
    lines = [f"{ago(each.asked_at)} ago: {each.question} ({each.document_id})" for each in found]
    words = "\n".join(lines) or "No question is recorded."
    show([asdict(each) for each in found], as_json, words)


def forget(
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="forget questions with this text in them or in their answer"),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="forget every question")] = False,
    store: StoreUrl = "",
) -> None:
    """Delete recorded questions, and what the gate made of them.

    Questions in the same file go too. Exit with 1 while an index is being built that will be
    probed with one.
    """
    if bool(texts) == every:
        raise typer.BadParameter("give a piece of the questions to forget, or --all")
    check_packages("realm recorded", STORE)
    from realm.records.generations import Generations
    from realm.records.recorded_questions import RecordedQuestions

    opened = open_store(settings_with(store))
    building = RecordedQuestions(opened).forget(None if every else texts, Generations(opened))
    if building:
        numbers = ", ".join(map(str, building))
        messages().print(
            f"generation {numbers} is being built with one: forget again when it is done"
        )
        raise typer.Exit(1)
    output().print("Forgotten, including questions not yet written.")
