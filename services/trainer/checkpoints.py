"""Checkpoints: all that an exact resume needs, for the trainer alone. No pickle.

`checkpoints/<step>/` holds the model as a snapshot does, `optimizer.safetensors`, with early
stopping the best weights so far in `best.safetensors`, `state.json` (step, sampler, gates; chance
follows from seed and step) and, put last, `manifest.json`.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
import torch

from realm.errors import Corrupt, NotFound
from realm.model.checkpoint import Model, load_model, write_model
from realm.model.weights import read_weights, write_weights
from realm.records.store import Store

FOLDER = "checkpoints"
MANIFEST = "manifest.json"
STATE_FILE = "state.json"
OPTIMIZER_FILE = "optimizer.safetensors"
BEST_FILE = "best.safetensors"
SOURCE_FILE = f"{FOLDER}/begun-with.json"
KEPT = 2

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model between two steps: `optimizer` as `Learner.state`, `state` as JSON values, `best` as
    `Learner.weights`."""

    step: int
    model: Model
    optimizer: dict[str, torch.Tensor]
    state: dict[str, Any]
    best: dict[str, torch.Tensor] = field(default_factory=dict)


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
            write_model(written, checkpoint.model)
            write_weights(written / OPTIMIZER_FILE, checkpoint.optimizer)
            if checkpoint.best:
                write_weights(written / BEST_FILE, checkpoint.best)
            for path in sorted(written.iterdir()):
                data = path.read_bytes()
                checksums[path.name] = hashlib.sha256(data).hexdigest()
                self._store.write(f"{folder}/{path.name}", data)
        self._store.write_json(f"{folder}/{STATE_FILE}", checkpoint.state)
        manifest = {
            "step": checkpoint.step,
            "sequence": max((order[0] for _, order in self._manifests()), default=0) + 1,
            "created_at": time.time(),
            "files": checksums,
            "state": hashlib.sha256(self._store.read(f"{folder}/{STATE_FILE}")).hexdigest(),
        }
        self._store.create_json(f"{folder}/{MANIFEST}", manifest)
        self._prune()

    def newest(self) -> Checkpoint | None:
        """The last that was written; a damaged one is passed over, and said so."""
        for name, _ in self._manifests():
            try:
                return self._load(f"{FOLDER}/{name}")
            except (Corrupt, NotFound) as error:
                _log.warning("checkpoint_unreadable", checkpoint=name, why=error.message)
        return None

    def forget(self, step: int) -> None:
        """Training cannot go on from this one: it comes to nothing again and again."""
        folder = f"{FOLDER}/{step:010d}"
        self._store.delete(f"{folder}/{MANIFEST}")
        self._store.delete_folder(folder)

    def source(self) -> str | None:
        """The digest of what training in this store began with; None if nobody has noted it."""
        try:
            return str(self._store.read_json(SOURCE_FILE)["sha256"])
        except NotFound:
            return None

    def note_source(self, digest: str) -> None:
        if self.source() != digest:
            self._store.write_json(SOURCE_FILE, {"sha256": digest})

    def _load(self, folder: str) -> Checkpoint:
        manifest = self._store.read_json(f"{folder}/{MANIFEST}")
        self._verified(f"{folder}/{STATE_FILE}", manifest["state"])
        with tempfile.TemporaryDirectory(prefix="realm-checkpoint-") as temporary:
            local = Path(temporary)
            for name, sha256 in manifest["files"].items():
                (local / name).write_bytes(self._verified(f"{folder}/{name}", sha256))
            return Checkpoint(
                step=int(manifest["step"]),
                model=load_model(local),
                optimizer=read_weights(local / OPTIMIZER_FILE),
                state=self._store.read_json(f"{folder}/{STATE_FILE}"),
                best=read_weights(local / BEST_FILE) if BEST_FILE in manifest["files"] else {},
            )

    def _verified(self, path: str, sha256: str) -> bytes:
        data = self._store.read(path)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise Corrupt(f"{path} does not match its checksum", file=path)
        return data

    def _manifests(self) -> list[tuple[str, tuple[int, float]]]:
        """Complete checkpoints with their places in the order of writing, newest first.

        An older release numbered none: among those time decides."""
        found = []
        for name in self._store.folders(FOLDER):
            try:
                manifest = self._store.read_json(f"{FOLDER}/{name}/{MANIFEST}")
                order = int(manifest.get("sequence", 0)), float(manifest["created_at"])
                found.append((name, order))
            except (NotFound, Corrupt, KeyError, TypeError, ValueError, AttributeError):
                continue
        return sorted(found, key=lambda each: each[1], reverse=True)

    def _prune(self) -> None:
        kept = {name for name, _ in self._manifests()[:KEPT]}
        for name in self._store.folders(FOLDER):
            if name not in kept and name.isdecimal():
                # The manifest goes first, so that no reader meets half a checkpoint.
                self._store.delete(f"{FOLDER}/{name}/{MANIFEST}")
                self._store.delete_folder(f"{FOLDER}/{name}")
