from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from realm.corpus.changes import changes_file
from realm.corpus.documents import Document
from realm.corpus.table import Change, CorpusTable
from realm.records.controls import Controls
from realm.records.generations import Generations
from realm.records.retention import Retention
from realm.records.snapshots import Snapshots
from realm.records.states import State
from realm.records.store import Store
from realm.records.vectors import vector_file
from services.indexer.leader.housekeeping import Housekeeping
from tests.unit.indexer.examples import create, generation, publish

RETIREMENT = 900.0


def passage_file(name: str) -> str:
    return f"passages/f/001-000/{name}.arrow"


@pytest.fixture
def grown(store: Store, tmp_path: Path) -> Store:
    """Four generations of four snapshots: deleted, retained, live, building; a fifth snapshot."""
    states = (State.DELETED, State.RETAINED, State.LIVE, State.BUILDING)
    for number, state in enumerate(states, 1):
        snapshot = publish(store, tmp_path / str(number), number)
        file = passage_file(f"p{number}")
        create(store, number, state, snapshot=number, version=number * 10, files=(file,))
        store.write(file, b"")
        store.write(vector_file(snapshot.name, file), b"")
        store.write(changes_file("f", number * 10, number * 10 + 5), b"")
    publish(store, tmp_path / "5", 5)
    return store


def housekeeping(
    store: Store,
    clock: Callable[[], float],
    memory: int = 0,
    age: Callable[[str, float], float] | None = None,
    **more: object,
) -> Housekeeping:
    snapshots, generations = Snapshots(store), Generations(store)
    given: dict[str, object] = {
        "submit": lambda chore: chore(CorpusTable(store)),
        "erase_within_seconds": 86_400.0,
        **more,
    }
    return Housekeeping(
        store=store,
        snapshots=snapshots,
        generations=generations,
        retention=Retention(store, snapshots, generations, RETIREMENT, memory, age=age),
        controls=Controls(store),
        index=None,
        ticks=clock,
        **given,  # type: ignore[arg-type]
    )


def collect_garbage(store: Store, later: float = 0.0, memory: int = 0) -> None:
    housekeeping(store, lambda: 0.0, memory, lambda *_: later).collect_garbage()


def snapshots(store: Store) -> list[int]:
    return [snapshot.number for snapshot in Snapshots(store).all()]


def test_what_active_generations_need_stays_and_the_rest_goes(grown: Store) -> None:
    collect_garbage(grown, later=10 * RETIREMENT)
    assert snapshots(grown) == [2, 3, 4, 5]
    assert [name.split("-")[0] for name in grown.folders("vectors")] == [
        "00000002", "00000003", "00000004",
    ]  # fmt: skip
    left = [path for path in grown.files("passages") if "changes" not in path]
    assert left == [passage_file(f"p{number}") for number in (2, 3, 4)]
    changes = [path for path in grown.files("passages") if "changes" in path]
    assert changes == [changes_file("f", v, v + 5) for v in (20, 30, 40)]


def test_what_ended_lately_is_kept_for_a_while(grown: Store) -> None:
    Generations(grown).record(2, State.RETIRED)
    collect_garbage(grown)
    assert 2 in snapshots(grown)
    collect_garbage(grown, later=RETIREMENT + 60)
    assert snapshots(grown) == [3, 4, 5]
    assert not grown.exists(passage_file("p2"))


def test_a_snapshot_between_needed_and_newest_goes(grown: Store, tmp_path: Path) -> None:
    publish(grown, tmp_path / "6", 6)
    Generations(grown).record(4, State.ABANDONED)
    create(grown, 5, State.BUILDING, snapshot=6, version=60)
    collect_garbage(grown, later=RETIREMENT + 60)
    assert snapshots(grown) == [2, 3, 6]


def test_nothing_is_touched_before_the_first_generation(store: Store, tmp_path: Path) -> None:
    publish(store, tmp_path / "1", 1)
    store.write(passage_file("early"), b"")
    collect_garbage(store, later=10 * RETIREMENT)
    assert snapshots(store) == [1]
    assert store.exists(passage_file("early"))


def test_it_runs_once_a_minute(grown: Store) -> None:
    now = [0.0]
    found = housekeeping(grown, lambda: now[0])
    now[0] = 59.0
    found.run_when_due()
    assert snapshots(grown) == [1, 2, 3, 4, 5]
    now[0] = 61.0
    found.run_when_due()
    assert snapshots(grown) == [2, 3, 4, 5]


def test_a_build_that_is_refused_does_not_end_erasure(store: Store, tmp_path: Path) -> None:
    table = CorpusTable(store)
    table.append([Change("a", Document("a", "Title", "Text."), "first")])
    table.append([Change("a", None, "second")])
    publish(store, tmp_path / "1", 1)
    create(store, 1, State.LIVE, version=1)
    generations, controls = Generations(store), Controls(store)
    generations.commit(1, after=None, by="a", why="refresh")
    now, began = [60.0], time.time()
    keeper = housekeeping(
        store, lambda: now[0], wall=lambda: began + now[0], erase_within_seconds=100.0
    )
    for _ in range(2):
        now[0] += 60.0
        keeper.run_when_due()
    asked = controls.refresh_request()
    assert asked is not None
    assert asked.snapshot == 1
    generations.create(replace(generation(2, version=2), request=asked.number))
    generations.record(2, State.REJECTED, "by chance")
    for _ in range(2):  # the first look sees it refused, the second for how long it has been
        now[0] += 60.0
        keeper.run_when_due()
    again = controls.refresh_request()
    assert again is not None
    assert again.number > asked.number
