from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

from realm.records.states import State
from realm.records.store import Store
from realm.settings import load_settings
from services.indexer.build.build import LONGEST_PAUSE_SECONDS, BuildContext, Memory
from services.indexer.build.observer import Observer
from services.indexer.context import Records
from services.indexer.writes.replication import ReplicationState
from tests.unit.indexer.examples import create, publish


def test_a_damaged_snapshot_is_tried_again_after_a_while_as_it_may_have_been_restored(
    store: Store, tmp_path: Path
) -> None:
    records, memory = Records.of(store), Memory()
    for number in (1, 2):
        publish(store, tmp_path / f"snapshot-{number}", number)
    create(store, 1, State.LIVE)
    records.generations.commit(1, after=None, by="", why="")
    index = SimpleNamespace(collections=list, alias=lambda: None)
    context = BuildContext(
        records, index, ReplicationState(records.generations), tasks=None, metrics=None,  # type: ignore[arg-type]
        settings=load_settings(), memory=memory,
    )  # fmt: skip
    observer = Observer(context, SimpleNamespace(version=lambda: 1))  # type: ignore[arg-type]
    for number in (1, 2):
        memory.found_damaged(number)
    seen = observer.observe()
    assert (seen.newest_snapshot, seen.can_heal) == (None, False)
    for number in (1, 2):
        memory.found_damaged(number, lambda: time.monotonic() - LONGEST_PAUSE_SECONDS)
    seen = observer.observe()
    assert (seen.newest_snapshot, seen.can_heal) == (2, True)
