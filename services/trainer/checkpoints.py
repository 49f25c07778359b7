"""Checkpoints: all that an exact resume needs, for the trainer alone. No pickle.

`checkpoints/<step>/` holds the model as a snapshot does, `optimizer.safetensors`, with early
stopping the best weights so far in `best.safetensors`, `state.json` (sampler, gates; random numbers
follow from seed and step) and, put last, `manifest.json`.

Where training begins: the first training of a store starts from REALM_BASE_MODEL, and training
restarts from it whenever it has changed. Otherwise it continues from the newest snapshot, whatever
its base: from the checkpoint if the same training published that snapshot, else from the snapshot.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import structlog
import torch

from realm.errors import Corrupt, NotFound
from realm.model.adapters import copied_weights, load_adapters
from realm.model.checkpoint import (
    CONFIG_FILE,
    Model,
    load_config,
    load_model,
    without_adapters,
    write_model,
)
from realm.model.publishing import load_source, source_digest, with_settings
from realm.model.weights import Weights, read_weights, write_weights
from realm.records.snapshots import Snapshot, Snapshots
from realm.records.store import Store
from realm.settings import Settings

FOLDER = "checkpoints"
MANIFEST = "manifest.json"
STATE_FILE = "state.json"
OPTIMIZER_FILE = "optimizer.safetensors"
BEST_FILE = "best.safetensors"
ADAPTERS_FILE = "adapters.safetensors"
SOURCE_FILE = f"{FOLDER}/begun-with.json"
KEPT = 2

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model between two steps: `optimizer` as `Learner.state`, `state` as JSON values, `best` as
    `Learner.weights`.

    Of a model that was read `adapters` are the weights that its adapters had, by name; it has none
    yet.
    """

    step: int
    model: Model
    optimizer: dict[str, torch.Tensor]
    state: dict[str, Any]
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    adapters: Weights = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Manifest:
    """`files` and `state` are sha256 digests; `sequence` is the order of writing."""

    step: int
    created_at: float
    files: dict[str, str]
    state: str
    sequence: int = 0  # not written by older releases: there `created_at` decides


class Checkpoints:
    """Writes checkpoints whole and finds the newest readable one."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def save(self, checkpoint: Checkpoint) -> None:
        """Puts every file and then the manifest; all but the last two checkpoints go."""
        folder = f"{FOLDER}/{checkpoint.step:010d}"
        # A step may come again after a resume from an older one: half of each must never count.
        self._store.delete(f"{folder}/{MANIFEST}")
        checksums = {}
        with tempfile.TemporaryDirectory(prefix="realm-checkpoint-") as temporary:
            written = Path(temporary)
            write_model(written, without_adapters(checkpoint.model, merge=False))
            if adapters := _adapters(checkpoint.model):
                write_weights(written / ADAPTERS_FILE, adapters)
            write_weights(written / OPTIMIZER_FILE, checkpoint.optimizer)
            if checkpoint.best:
                write_weights(written / BEST_FILE, checkpoint.best)
            for path in sorted(written.iterdir()):
                data = path.read_bytes()
                checksums[path.name] = hashlib.sha256(data).hexdigest()
                self._store.write(f"{folder}/{path.name}", data)
        self._store.write_json(f"{folder}/{STATE_FILE}", checkpoint.state)
        manifest = _Manifest(
            step=checkpoint.step,
            created_at=time.time(),
            files=checksums,
            state=hashlib.sha256(self._store.read(f"{folder}/{STATE_FILE}")).hexdigest(),
            sequence=max((other.sequence for _, other in self._manifests()), default=0) + 1,
        )
        self._store.create_json(f"{folder}/{MANIFEST}", asdict(manifest))
        kept = {name for name, _ in self._manifests()[:KEPT]}
        for name in self._store.folders(FOLDER):
            if name not in kept and name.isdecimal():
                self._delete(f"{FOLDER}/{name}")

    def newest(self) -> Checkpoint | None:
        """The last one written; damaged ones are skipped and logged."""
        for name, manifest in self._manifests():
            try:
                return self._load(f"{FOLDER}/{name}", manifest)
            except (Corrupt, NotFound) as error:
                _log.warning("checkpoint_unreadable", checkpoint=name, why=error.message)
        return None

    def forget(self, step: int) -> None:
        """Deletes a checkpoint from which training diverged again."""
        self._delete(f"{FOLDER}/{step:010d}")

    def source(self) -> str | None:
        """The digest of what training in this store started from; None if not recorded."""
        try:
            return str(self._store.read_json(SOURCE_FILE)["sha256"])
        except NotFound:
            return None

    def record_source(self, digest: str) -> None:
        if self.source() != digest:
            self._store.write_json(SOURCE_FILE, {"sha256": digest})

    def _load(self, folder: str, manifest: _Manifest) -> Checkpoint:
        state = json.loads(self._verified(f"{folder}/{STATE_FILE}", manifest.state))
        with tempfile.TemporaryDirectory(prefix="realm-checkpoint-") as temporary:
            local = Path(temporary)
            for name, sha256 in manifest.files.items():
                (local / name).write_bytes(self._verified(f"{folder}/{name}", sha256))
            return Checkpoint(
                step=manifest.step,
                model=load_model(local),
                optimizer=read_weights(local / OPTIMIZER_FILE),
                state=state,
                best=read_weights(local / BEST_FILE) if BEST_FILE in manifest.files else {},
                adapters=read_weights(local / ADAPTERS_FILE)
                if ADAPTERS_FILE in manifest.files
                else {},
            )

    def _verified(self, path: str, sha256: str) -> bytes:
        data = self._store.read(path)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise Corrupt(f"{path} does not match its checksum", file=path)
        return data

    def _manifests(self) -> list[tuple[str, _Manifest]]:
        """Complete checkpoints by name, newest first."""
        found = []
        for name in self._store.folders(FOLDER):
            with suppress(NotFound, Corrupt):
                path = f"{FOLDER}/{name}/{MANIFEST}"
                found.append((name, self._store.read_record(path, _Manifest)))
        return sorted(found, key=lambda one: (one[1].sequence, one[1].created_at), reverse=True)

    def _delete(self, folder: str) -> None:
        # The manifest goes first, so that no reader meets half a checkpoint.
        self._store.delete(f"{folder}/{MANIFEST}")
        self._store.delete_folder(folder)


@dataclass(frozen=True, slots=True)
class Origin:
    """The model to continue with.

    :param unpublished: the store has no snapshot that cuts and encodes passages in the same way.
    :param source: the digest of what REALM_BASE_MODEL names.
    :param from_base: the model derives from no snapshot.
    :param snapshot: the number of the newest snapshot that it derives from.
    """

    model: Model
    step: int
    checkpoint: Checkpoint | None
    unpublished: bool
    source: str = ""
    from_base: bool = False
    snapshot: int | None = None


def find_origin(settings: Settings, checkpoints: Checkpoints, snapshots: Snapshots) -> Origin:
    """:raises RealmError: if the base is not available, or the newest snapshot is damaged."""
    source, newest = source_digest(settings.model.base_model), snapshots.newest()
    if newest is None or checkpoints.source() not in (None, source):
        model = with_settings(load_source(settings.model.base_model, settings), settings)
        _log.info("started_from_base", base=model.config.base_name)
        return Origin(model, 0, None, unpublished=True, source=source, from_base=True)
    checkpoint = checkpoints.newest() if settings.trainer.train else None
    if checkpoint and checkpoint.state.get("lora") != lora(settings):
        # What other adapters have learnt is merged in the snapshot alone.
        checkpoint = None
    if checkpoint and _same_training(newest, checkpoint, snapshots):
        model, step = checkpoint.model, checkpoint.step
        _log.info("resumed", step=step)
    else:
        checkpoint = None
        model, step = load_model(snapshots.materialise(newest)), newest.step
        _log.info("started_from_snapshot", snapshot=newest.number, step=step)
    model = with_settings(model, settings)
    unpublished = newest.fingerprint != model.inputs.fingerprint
    return Origin(model, step, checkpoint, unpublished, source, snapshot=newest.number)


def origin_of(settings: Settings, snapshots: Snapshots, number: int) -> Origin:
    """Where training goes on from a snapshot that another published.

    :raises RealmError: if it is gone or damaged, or the store does not answer.
    """
    found = snapshots.get(number)
    model = with_settings(load_model(snapshots.materialise(found)), settings)
    _log.info("follows_snapshot", snapshot=number, base=model.config.base_name)
    unpublished = found.fingerprint != model.inputs.fingerprint
    return Origin(model, found.step, None, unpublished, snapshot=number)


def lora(settings: Settings) -> list[float] | None:
    """What decides which adapters there are; None: there are none."""
    chosen = settings.optimizer
    if not chosen.lora_rank:
        return None
    return [chosen.lora_rank, chosen.lora_alpha, chosen.trainable_layers]


def _adapters(model: Model) -> Weights:
    return copied_weights(_whole(model))


def load_adapters_into(model: Model, weights: Weights) -> None:
    """:raises Corrupt: if these are other adapters' weights."""
    load_adapters(_whole(model), weights)


def _whole(model: Model) -> torch.nn.ModuleDict:
    return torch.nn.ModuleDict({"retriever": model.retriever, "reader": model.reader})


def _same_training(newest: Snapshot, checkpoint: Checkpoint, snapshots: Snapshots) -> bool:
    """Whether the training of the checkpoint published the newest snapshot, or began with it."""
    published: int | None = checkpoint.state.get("snapshot")
    if published is None:  # written by an older release
        config = load_config(snapshots.materialise(newest, (CONFIG_FILE,)))
        return config.base_sha256 == checkpoint.model.config.base_sha256
    while newest.number > published:
        if newest.parent is None:
            return False
        parent = newest.parent
        try:
            newest = snapshots.get(parent)
        except NotFound:  # deleted, while snapshots derived from it remain
            return parent >= published
    return newest.number == published
