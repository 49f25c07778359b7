"""Small manifests, and a clock, for tests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from realm.records.generation import Generation, collection_name
from realm.records.generations import Generations
from realm.records.snapshots import Snapshot, Snapshots
from realm.records.states import State
from realm.records.store import Store


@dataclass
class Clock:
    """Seconds that a test sets."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def generation(
    number: int,
    *,
    snapshot: int = 1,
    version: int = 1,
    files: tuple[str, ...] = (),
    created_at: float | None = None,
    word_statistics: str = "",
    vector_size: int = 2,
) -> Generation:
    return Generation(
        number=number,
        snapshot=snapshot,
        step=snapshot * 10,
        corpus_version=version,
        fingerprint="f",
        vector_size=vector_size,
        passage_files=files,
        collection=collection_name(number),
        created_at=float(number) if created_at is None else created_at,
        why="",
        word_statistics=word_statistics,
    )


def create(store: Store, number: int, state: State, **more: object) -> Generation:
    """A generation whose newest event is `state`."""
    made = generation(number, **more)  # type: ignore[arg-type]
    generations = Generations(store)
    generations.create(made)
    generations.record(number, state)
    return made


def publish(store: Store, folder: Path, number: int) -> Snapshot:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"number": number}))
    return Snapshots(store).publish(folder, step=number * 10, fingerprint="f", vector_size=2)
