"""`realm snapshots`: publish a model into the store, list what is there, pin what must stay.

These commands read and write the store itself: a model is too large for a call to a gateway.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from realm.cli.format import duration
from realm.cli.json_output import to_json
from realm.cli.options import MOST, AsJson, Reason, messages, output
from realm.cli.packages import MODEL, check_packages
from realm.cli.stores import StoreUrl, open_store, settings_with

if TYPE_CHECKING:
    from realm.records.snapshots import Snapshot, Snapshots

NEEDS = {"obstore": "service", "redis": "service"}

Number = Annotated[int, typer.Argument(help="number of a snapshot", min=0, max=MOST)]


def register(app: typer.Typer) -> None:
    snapshots = typer.Typer(help="Models that an index can be made of.", no_args_is_help=True)
    snapshots.command()(publish)
    snapshots.command("list")(list_)
    snapshots.command()(show)
    snapshots.command()(pin)
    snapshots.command()(unpin)
    app.add_typer(snapshots, name="snapshots")


def publish(
    source: Annotated[
        str,
        typer.Argument(
            help="a BERT-type Hugging Face or sentence-transformers folder, a hub name, or a"
            " model's folder of ours"
        ),
    ],
    step: Annotated[int, typer.Option(help="training step that it counts as", min=0, max=MOST)] = 0,
    store: StoreUrl = "",
    as_json: AsJson = False,
) -> None:
    """Publish a model as the newest snapshot; the running cluster moves to it by itself.

    Passages are cut for its tokenizer, embedded into a collection of its own and compared by the
    gate; only then is it live. A trainer that runs would publish its own model over it.
    """
    check_packages("realm snapshots publish", {**NEEDS, **MODEL})
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
    nudge = Wakeup(settings.addresses.redis_url)
    nudge.send("snapshot")
    nudge.close()
    if as_json:
        output().out(to_json(_plain(published, snapshots.pinned())))
        return
    output().print(
        f"snapshot {published.number}: {escape(model.config.base_name or 'a model')},"
        f" {published.vector_size} dimensions, {model.config.pooling} pooling"
        + _cut(before, published)
    )


def list_(store: StoreUrl = "", as_json: AsJson = False) -> None:
    """List the snapshots in the store, newest first."""
    snapshots = _open(store)
    found, pinned = list(reversed(snapshots.all())), snapshots.pinned()
    if as_json:
        output().out(to_json([_plain(each, pinned) for each in found]))
    elif found:
        output().print(_list_table(found, pinned))
    else:
        output().print("There is no snapshot in this store yet.")


def show(number: Number, store: StoreUrl = "", as_json: AsJson = False) -> None:
    """One snapshot: its files, its figures, whether it is pinned."""
    snapshots = _open(store)
    found, pinned = snapshots.get(number), snapshots.pinned()
    if as_json:
        output().out(to_json(_plain(found, pinned)))
    else:
        output().print(_show_table(found, pinned))


def pin(number: Number, reason: Reason = "", store: StoreUrl = "") -> None:
    """Keep a snapshot for good: it is not tidied away, whatever refers to it."""
    _open(store).pin(number, reason)
    output().print(f"snapshot {number} stays until it is unpinned")


def unpin(number: Number, store: StoreUrl = "") -> None:
    """Let a snapshot go when nothing needs it."""
    _open(store).unpin(number)
    output().print(f"snapshot {number} is not pinned")


def size(count: float) -> str:
    """`1536` → `1.5 KiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def _open(store: str) -> Snapshots:
    check_packages("realm snapshots", NEEDS)
    from realm.records.snapshots import Snapshots

    return Snapshots(open_store(settings_with(store)))


def _cut(before: Snapshot | None, published: Snapshot) -> str:
    if before is None or before.fingerprint == published.fingerprint:
        return ""
    return "; its tokenizer or lengths are others: all passages are cut anew"


def _bytes(snapshot: Snapshot) -> int:
    return sum(file.size for file in snapshot.files.values())


def _list_table(found: list[Snapshot], pinned: dict[int, str]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("snapshot", "step", "published", "dimensions", "cut", "size", ""):
        table.add_column(heading)
    for each in found:
        table.add_row(
            str(each.number),
            str(each.step),
            f"{duration(time.time() - each.created_at)} ago",
            str(each.vector_size),
            each.fingerprint,
            size(_bytes(each)),
            "pinned" if each.number in pinned else "",
        )
    return table


def _show_table(snapshot: Snapshot, pinned: dict[int, str]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column()
    table.add_row("snapshot", str(snapshot.number))
    table.add_row("step", str(snapshot.step))
    table.add_row("published", f"{duration(time.time() - snapshot.created_at)} ago")
    table.add_row("dimensions", str(snapshot.vector_size))
    table.add_row("cut", snapshot.fingerprint)
    if snapshot.parent is not None:
        table.add_row("parent", str(snapshot.parent))
    if snapshot.number in pinned:
        table.add_row("pinned", escape(pinned[snapshot.number]) or "yes")
    for name, file in sorted(snapshot.files.items()):
        table.add_row(name, f"{size(file.size)}, sha256 {file.sha256[:16]}…")
    for name, value in sorted(snapshot.metrics.items()):
        table.add_row(name, f"{value:.6g}")
    return table


def _plain(snapshot: Snapshot, pinned: dict[int, str]) -> dict[str, object]:
    return {
        "snapshot": snapshot.number,
        "digest": snapshot.digest,
        "step": snapshot.step,
        "created_at": snapshot.created_at,
        "parent": snapshot.parent,
        "fingerprint": snapshot.fingerprint,
        "vector_size": snapshot.vector_size,
        "pinned": snapshot.number in pinned,
        "metrics": snapshot.metrics,
        "files": {
            name: {"size": file.size, "sha256": file.sha256}
            for name, file in snapshot.files.items()
        },
    }
