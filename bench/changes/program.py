"""`python -m bench changes`: one document in a hundred changes, and a refresh by the same snapshot
embeds little more than a hundredth; what it makes equals what is built from nothing."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from bench import tiny
from bench.changes.comparison import Difference, difference
from bench.changes.edits import Edits, change, edits, first_corpus, send
from bench.claims import Claim, Result, at_most, none
from bench.cluster import BenchCluster
from bench.corpus import Author, words_of
from bench.points import Points, read_points
from realm.client import Client
from realm.corpus.documents import Document
from realm.model.checkpoint import Model, new_model
from realm.model.publishing import publish_model
from realm.model.runtime import best_dtype, pick_device, set_threads
from realm.records import arrow
from realm.records.generations import Generation, Generations
from realm.records.store import Store
from realm.records.vectors import read_vectors, vector_file

DOCUMENTS = 2000
QUICK_DOCUMENTS = 400
MOST_EMBEDDED = 0.015
#: A batch of another shape sums in another order: the last digits of float32 differ. In bfloat16
#: (8 bits of mantissa) such a difference now and then rounds an activation the other way, by one
#: part in 256; over all layers and the mean over tokens that may move a coordinate of a vector of
#: length 1 by as much as this, far less than neighbours are apart.
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
SETTINGS = {"REALM_RECONCILE_SECONDS": "0.5", "REALM_GATE_PROBES": "100"}


@dataclass(frozen=True, slots=True)
class Grown:
    """A corpus that changed under a running cluster. `embedded` counts passages, by refresh."""

    followed: Points
    refreshed: Points
    embedded_unchanged: int
    embedded: int
    embedded_for_live: int
    passages: int


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--documents", type=int, default=DOCUMENTS, help="size of the corpus")
    parser.add_argument("--packaged", action="store_true", help="the packaged MiniLM, not a tiny")


def run(options: argparse.Namespace, folder: Path) -> Result:
    """:raises RealmError: if a cluster does not come up."""
    set_threads(1)
    count = QUICK_DOCUMENTS if options.quick else options.documents
    model = new_model() if options.packaged else tiny.tiny_model(options.seed)
    author = Author(words_of(tiny.vocabulary(model)), options.seed)
    corpus, changes = first_corpus(author, count), edits(author, count, options.seed)
    grown = _grow(folder / "grown", model, corpus, changes)
    afresh = _build_afresh(folder / "afresh", model, corpus, changes)
    return _judge(count, grown, afresh)


def _grow(folder: Path, model: Model, corpus: list[Document], changes: Edits) -> Grown:
    with BenchCluster(folder, SETTINGS) as cluster, Client(cluster.gateways[0]) as client:
        send(client, corpus)
        publish_model(cluster.snapshots, model, step=0)
        cluster.start_embedders()
        cluster.await_answers()
        first = _live(cluster.store)
        unchanged = _refresh(cluster, client, first)
        version = change(client, changes)
        followed = _points(cluster, unchanged, version)
        changed = _refresh(cluster, client, unchanged)
        refreshed = _points(cluster, changed, version)
        return Grown(
            followed=followed,
            refreshed=refreshed,
            embedded_unchanged=_embedded(cluster, unchanged, first),
            embedded=_embedded(cluster, changed, unchanged),
            embedded_for_live=_embedded_deltas(cluster.store, unchanged),
            passages=len(refreshed.ids),
        )


def _build_afresh(folder: Path, model: Model, corpus: list[Document], changes: Edits) -> Points:
    """The same calls, all before the first snapshot: the first generation holds everything."""
    with BenchCluster(folder, SETTINGS) as cluster, Client(cluster.gateways[0]) as client:
        send(client, corpus)
        version = change(client, changes)
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
    files = [vector_file(snapshot.name, path) for path in fresh]
    return sum(_embedded_in(cluster.store, file) for file in files)


def _embedded_deltas(store: Store, generation: Generation) -> int:
    return sum(_embedded_in(store, path) for path in store.files(f"{generation.folder}/deltas"))


def _embedded_in(store: Store, file: str) -> int:
    return int(arrow.metadata(read_vectors(store, file)).get("embedded", 0))


def _judge(documents: int, grown: Grown, afresh: Points) -> Result:
    dtype = best_dtype(pick_device())
    refreshed = difference(grown.refreshed, afresh)
    followed = difference(grown.followed, afresh)
    share = grown.embedded / max(1, grown.passages)
    claims = [
        at_most(
            "share of passages embedded after 1% of the documents changed", share, MOST_EMBEDDED
        ),
        *_equal("refreshed", refreshed, TOLERANCES[dtype]),
        *_equal("followed by deltas", followed, TOLERANCES[dtype]),
    ]
    figures = {
        "documents": documents,
        "passages": grown.passages,
        "embedded_by_refresh": grown.embedded,
        "embedded_by_refresh_without_changes": grown.embedded_unchanged,
        "embedded_for_live_meanwhile": grown.embedded_for_live,
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
