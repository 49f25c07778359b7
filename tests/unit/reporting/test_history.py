"""What a store remembers: the lag follows from publications and commits alone."""

from pathlib import Path

import pytest

from realm.records.generations import Generations
from realm.records.snapshots import Snapshots
from realm.records.states import State
from realm.records.store import Store
from realm.reporting.history import history, lag_over_time
from tests.unit.indexer.examples import create, publish


def test_the_lag_rises_until_the_swap(store: Store, tmp_path: Path) -> None:
    generations, snapshots = Generations(store), Snapshots(store)
    publish(store, tmp_path / "a", 1)
    create(store, 1, State.LIVE, snapshot=1)
    first = generations.commit(1, after=None, by="test", why="refresh")
    newer = publish(store, tmp_path / "b", 2)
    create(store, 2, State.LIVE, snapshot=2)
    second = generations.commit(2, after=first, by="test", why="refresh")
    points = lag_over_time(generations, snapshots, first.at, second.at + 1)
    before = [each for each in points if each["generation"] == 1]
    assert max(each["seconds"] for each in before) == pytest.approx(
        max(0, second.at - newer.created_at), abs=0.01
    )
    assert all(each["seconds"] == 0 for each in points if each["generation"] == 2)
    assert max(each["steps"] for each in before) == newer.step - snapshots.all()[0].step


def test_refreshes_and_swaps_since_a_moment(store: Store, tmp_path: Path) -> None:
    generations, snapshots = Generations(store), Snapshots(store)
    publish(store, tmp_path / "a", 1)
    create(store, 1, State.BUILDING, snapshot=1)
    began = generations.get(1).created_at
    generations.record(1, State.REJECTED, "worse", {"probe_recall@5": 0.2})
    found = history(generations, snapshots, began, began + 1)
    assert [each["outcome"] for each in found["refreshes"]] == ["rejected"]
    assert found["refreshes"][0]["why"] == "worse"
    assert found["held_out_recall"][0]["recall@5"] == 0.2
    assert found["swaps"] == []
    assert found["generations_live"] == 0
