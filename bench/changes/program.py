"""One document in a hundred changes, and a refresh by the same snapshot embeds little more than a
hundredth; the index that it makes equals one built from nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from bench import tiny
from bench.claims import Claim, Result, at_most, none
from bench.cluster import BenchCluster
from bench.documents import Edits, edits, first_documents, send, send_edits
from bench.harness import Bench, Context
from bench.points import Difference, Points, difference, read_points
from realm.client import Client
from realm.corpus.documents import Document
from realm.model.checkpoint import Model, new_model
from realm.model.publishing import publish_model
from realm.model.runtime import best_dtype, pick_device, set_threads
from realm.records import arrow
from realm.records.generation import Generation
from realm.records.generations import Generations
from realm.records.store import Store
from realm.records.vectors import read_vectors, vector_file

MOST_EMBEDDED = 0.015
#: A batch of another shape sums in another order: the last digits of float32 differ. In bfloat16
#: (8 bits of mantissa) such a difference now and then rounds an activation the other way, by one
#: part in 256; over all layers and the mean over tokens that may move a coordinate of a vector of
#: length 1 by as much as this, far less than neighbours are apart.
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
SETTINGS = {"REALM_RECONCILE_SECONDS": "0.5", "REALM_GATE_PROBES": "100"}


@dataclass(frozen=True, slots=True)
class Parameters:
    documents: int
    packaged: bool


@dataclass(frozen=True, slots=True)
class Changed:
    """A corpus that changed under a running cluster.

    `followed` is the index that took the changes one by one, `refreshed` the next generation. The
    counts are passages embedded: for a refresh without changes, for one with, and for live.
    """

    followed: Points
    refreshed: Points
    embedded_unchanged: int
    embedded: int
    embedded_for_live: int


def observe(parameters: Parameters, context: Context) -> tuple[Changed, Points]:
    """The cluster that changed, and the index of one that began with the changed corpus."""
    set_threads(1)
    seed, count = context.seed, parameters.documents
    model = new_model() if parameters.packaged else tiny.tiny_model(seed)
    writer = tiny.writer(model, seed)
    corpus, changes = first_documents(writer, count), edits(writer, count, seed)
    changed = _change(context.folder / "grown", model, corpus, changes)
    return changed, _build_afresh(context.folder / "afresh", model, corpus, changes)


def _change(folder: Path, model: Model, corpus: list[Document], changes: Edits) -> Changed:
    with BenchCluster(folder, SETTINGS) as cluster, Client(cluster.gateways[0]) as client:
        send(client, corpus)
        publish_model(cluster.snapshots, model, step=0)
        cluster.start_embedders()
        cluster.await_answers()
        first = _live(cluster.store)
        unchanged = _refresh(cluster, client, first)
        version = send_edits(client, changes)
        followed = _points(cluster, unchanged, version)
        changed = _refresh(cluster, client, unchanged)
        deltas = cluster.store.files(f"{unchanged.folder}/deltas")
        return Changed(
            followed=followed,
            refreshed=_points(cluster, changed, version),
            embedded_unchanged=_embedded(cluster, unchanged, first),
            embedded=_embedded(cluster, changed, unchanged),
            embedded_for_live=sum(_embedded_in(cluster.store, path) for path in deltas),
        )


def _build_afresh(folder: Path, model: Model, corpus: list[Document], changes: Edits) -> Points:
    """The same calls, all before the first snapshot: the first generation holds everything."""
    with BenchCluster(folder, SETTINGS) as cluster, Client(cluster.gateways[0]) as client:
        send(client, corpus)
        version = send_edits(client, changes)
        publish_model(cluster.snapshots, model, step=0)
        cluster.start_embedders()
        cluster.await_answers()
        return _points(cluster, _live(cluster.store), version)


def _refresh(cluster: BenchCluster, client: Client, before: Generation) -> Generation:
    client.refresh(reason="bench")
    cluster.until(lambda: _live(cluster.store).number > before.number, "a refresh to go live")
    return _live(cluster.store)


def _live(store: Store) -> Generation:
    generations = Generations(store)
    entry = generations.live()
    assert entry, "a gateway answers, so something is live"
    return generations.get(entry.generation)


def _points(cluster: BenchCluster, generation: Generation, version: int) -> Points:
    """Once the collection holds every write up to `version`."""
    generations = Generations(cluster.store)
    cluster.until(
        lambda: generations.applied(generation.number) >= version,
        f"generation {generation.number} to hold corpus version {version}",
    )
    return read_points(cluster.qdrant_url, generation.collection)


def _embedded(cluster: BenchCluster, generation: Generation, before: Generation) -> int:
    """Passages embedded for a generation's shards: those not taken over, as the files say."""
    snapshot = cluster.snapshots.get(generation.snapshot)
    fresh = set(generation.passage_files) - set(before.passage_files)
    return sum(_embedded_in(cluster.store, vector_file(snapshot.name, path)) for path in fresh)


def _embedded_in(store: Store, file: str) -> int:
    return int(arrow.metadata(read_vectors(store, file)).get("embedded", 0))


def judge(parameters: Parameters, run: tuple[Changed, Points]) -> Result:
    changed, afresh = run
    dtype = best_dtype(pick_device())
    refreshed = difference(changed.refreshed, afresh)
    followed = difference(changed.followed, afresh)
    passages = len(changed.refreshed.ids)
    share = changed.embedded / max(1, passages)
    claims = [
        at_most(
            "share of passages embedded after 1% of the documents changed", share, MOST_EMBEDDED
        ),
        *_equal("refreshed", refreshed, TOLERANCES[dtype]),
        *_equal("followed by deltas", followed, TOLERANCES[dtype]),
    ]
    figures = {
        "documents": parameters.documents,
        "passages": passages,
        "embedded_by_refresh": changed.embedded,
        "embedded_by_refresh_without_changes": changed.embedded_unchanged,
        "embedded_for_live_meanwhile": changed.embedded_for_live,
        "number_format": str(dtype).removeprefix("torch."),
        "refreshed": asdict(refreshed),
        "followed": asdict(followed),
    }
    return Result(figures, claims)


def _equal(name: str, found: Difference, tolerance: float) -> list[Claim]:
    there = found.missing + found.extra
    return [
        none(f"{name}: points missing or extra, against one built from nothing", there),
        none(f"{name}: payloads that differ", found.payloads),
        none(f"{name}: BM25 terms that differ", found.terms),
        at_most(f"{name}: largest difference of a vector's coordinate", found.vectors, tolerance),
    ]


BENCH = Bench(
    description=__doc__ or "",
    full=Parameters(documents=2000, packaged=False),
    quick=Parameters(documents=400, packaged=False),
    observe=observe,
    judge=judge,
    options={
        "documents": "size of the corpus",
        "packaged": "the packaged MiniLM, not a tiny model",
    },
)
