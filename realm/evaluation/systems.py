"""What is under evaluation: a model, the base or a snapshot, and what chooses its passages."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch

from realm.errors import NotFound
from realm.model.checkpoint import Model, load_model
from realm.model.encoders import Encoder
from realm.model.inputs import InputBuilder
from realm.model.publishing import load_source
from realm.model.reader import Reader
from realm.records.snapshots import Snapshot, Snapshots
from realm.records.store import Store
from realm.retrieval import Retrieval
from realm.settings import Settings

NEWEST = "latest"


class Baseline(StrEnum):
    """The base's model, by what chooses its passages: names of `realm eval --system`."""

    BASE = "base"
    BM25 = "bm25"
    HYBRID = "hybrid"

    @property
    def retrieval(self) -> Retrieval:
        return Retrieval.DENSE if self is Baseline.BASE else Retrieval(self)


@dataclass(frozen=True, slots=True)
class System:
    """Both towers, reader and scale s of one set of parameters, in eval mode on one device.

    `retrieval` chooses the passages; p(z|x) and the answers are the model's in any case.
    """

    name: str
    base: str
    step: int
    inputs: InputBuilder
    passage: Encoder
    query: Encoder
    reader: Reader
    scale: float
    dtype: torch.dtype
    retrieval: Retrieval = Retrieval.DENSE


def base_system(settings: Settings, device: torch.device, dtype: torch.dtype) -> System:
    """What a trainer of these settings publishes at step 0.

    :raises RealmError: if the base cannot be had.
    """
    model = load_source(settings.model.base_model, settings)
    return system_of(model, "base", 0, device, dtype)


def snapshot_system(
    snapshots: Snapshots, snapshot: Snapshot, device: torch.device, dtype: torch.dtype
) -> System:
    """:raises Corrupt: if a file of the snapshot is missing or altered."""
    model = load_model(snapshots.materialise(snapshot))
    return system_of(model, f"snapshot-{snapshot.number}", snapshot.step, device, dtype)


def system_of(
    model: Model, name: str, step: int, device: torch.device, dtype: torch.dtype
) -> System:
    return System(
        name=name,
        base=model.config.base_name,
        step=step,
        inputs=model.inputs,
        passage=model.retriever.passage.to(device).eval(),
        query=model.retriever.query.to(device).eval(),
        reader=model.reader.to(device).eval(),
        scale=float(model.retriever.scale.detach()),
        dtype=dtype,
    )


def find_snapshot(store: Store, wanted: str) -> tuple[Snapshots, Snapshot]:
    """:param wanted: a number, or `latest`.

    :raises NotFound: if there is no such snapshot.
    """
    snapshots = Snapshots(store)
    if wanted != NEWEST:
        return snapshots, snapshots.get(int(wanted))
    newest = snapshots.newest()
    if newest is None:
        raise NotFound(f"the store {store.url} has no snapshot yet: start a trainer on it first")
    return snapshots, newest
