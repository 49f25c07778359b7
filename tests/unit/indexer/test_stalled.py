from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from realm.records.baselines import GateBaselines
from realm.records.controls import Controls
from realm.records.generations import Generations
from realm.records.snapshots import Snapshots
from realm.records.states import State
from realm.records.store import Store
from realm.records.vectors import vector_file
from services.indexer.build import observer as observer_module
from services.indexer.build.build import Memory
from services.indexer.build.loader import Loaded
from services.indexer.build.observer import Observer
from services.indexer.writes.replication import ReplicationState
from tests.unit.indexer.examples import create, publish

FILE = "passages/f/000-000/a.arrow"


def test_a_build_whose_vectors_are_there_and_not_loaded_makes_no_progress(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observer_module, "STALLED_SECONDS", 0.0)
    snapshot = publish(store, tmp_path / "snapshot", 1)
    create(store, 1, State.BUILDING, files=(FILE,))
    store.write(vector_file(snapshot.name, FILE), b"")
    generations, snapshots = Generations(store), Snapshots(store)
    observer = Observer(
        store=store,
        snapshots=snapshots,
        generations=generations,
        index=SimpleNamespace(collections=list, alias=lambda: None, full=""),  # type: ignore[arg-type]
        corpus=SimpleNamespace(version=lambda: 1),  # type: ignore[arg-type]
        replication=ReplicationState(generations),
        controls=Controls(store),
        retirement_seconds=900.0,
        references=GateBaselines(generations, snapshots, 0),
        gate_probes=0,
    )
    memory = Memory()
    first = observer.observe(memory).candidate
    assert first is not None
    assert first.embedded == first.files
    assert first.stalled
    assert memory.build is not None
    memory.build.loaded[FILE] = Loaded(rows=1, embedded=1, seconds=1.0)
    second = observer.observe(memory).candidate
    assert second is not None
    assert not second.stalled
