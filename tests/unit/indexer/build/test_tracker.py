from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from realm.records.baselines import GateBaselines
from realm.records.states import State
from realm.records.store import Store
from realm.records.vectors import vector_file
from realm.settings import load_settings
from services.indexer.build import tracker as tracker_module
from services.indexer.build.build import BuildContext, Memory
from services.indexer.build.loader import Loaded
from services.indexer.build.observer import Observer
from services.indexer.build.tracker import BuildTracker
from services.indexer.context import Records
from services.indexer.writes.replication import ReplicationState
from tests.unit.indexer.examples import create, publish

FILE = "passages/f/000-000/a.arrow"


def test_a_build_whose_vectors_are_there_and_not_loaded_makes_no_progress(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker_module, "STALLED_SECONDS", 0.0)
    snapshot = publish(store, tmp_path / "snapshot", 1)
    create(store, 1, State.BUILDING, files=(FILE,))
    store.write(vector_file(snapshot.name, FILE), b"")
    records, memory = Records.of(store), Memory()
    index = SimpleNamespace(collections=list, alias=lambda: None, full="")
    context = BuildContext(
        records, index, ReplicationState(records.generations), tasks=None, metrics=None,  # type: ignore[arg-type]
        settings=load_settings(gate_probes=0), memory=memory,
    )  # fmt: skip
    observer = Observer(context, SimpleNamespace(version=lambda: 1))  # type: ignore[arg-type]
    tracker = BuildTracker(context, GateBaselines(records.generations, records.snapshots, 0))
    first = tracker.update(observer.observe()).candidate
    assert first is not None
    assert first.embedded == first.files
    assert first.stalled
    assert memory.build is not None
    memory.build.loaded[FILE] = Loaded(rows=1, embedded=1, seconds=1.0)
    second = tracker.update(observer.observe()).candidate
    assert second is not None
    assert not second.stalled
