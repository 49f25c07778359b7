from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from realm.corpus.changes import changes_file
from realm.corpus.documents import Document
from realm.corpus.table import Change, CorpusTable
from realm.records.controls import COLLECT, Controls
from realm.records.generations import Generations
from realm.records.retention import Retention, erased_upto
from realm.records.snapshots import Snapshots
from realm.records.states import Ages, State
from realm.records.store import Store
from realm.records.vectors import vector_file
from services.indexer.context import Records
from services.indexer.leader.housekeeping import (
    FLOOR,
    ErasureDeadlines,
    Housekeeping,
    PendingErasure,
    corpus_floor,
)
from services.indexer.metrics import IndexerMetrics
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
    erase_within: float = 86_400.0,
    wall: Callable[[], float] = time.time,
    metrics: IndexerMetrics | None = None,
) -> Housekeeping:
    records = Records.of(store)
    return Housekeeping(
        records,
        None,
        Retention(store, records.snapshots, records.generations, RETIREMENT, memory, age=age),
        lambda maintain: maintain(CorpusTable(store)),
        erase_within,
        metrics or IndexerMetrics(CollectorRegistry()),
        wall=wall,
        ticks=clock,
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


def test_it_runs_at_once_when_asked(grown: Store) -> None:
    grown.write_json(COLLECT, {})
    housekeeping(grown, lambda: 0.0).run_when_due(asked=Controls(grown).steering().collect)
    assert snapshots(grown) == [2, 3, 4, 5]
    assert not Controls(grown).steering().collect


def test_with_a_damaged_floor_nothing_older_is_built_on_until_it_is_written_again(
    grown: Store,
) -> None:
    """Rows that were erased since would be missing, a deletion among them."""
    assert corpus_floor(grown) == 0
    housekeeping(grown, lambda: 0.0).maintain_table()
    assert corpus_floor(grown) == 20, "of the oldest that is active"
    grown.write(FLOOR, grown.read(FLOOR)[:-5])
    assert corpus_floor(grown) > 1e15
    housekeeping(grown, lambda: 0.0).maintain_table()
    assert corpus_floor(grown) == 20


def test_a_build_that_is_refused_does_not_end_erasure(store: Store, tmp_path: Path) -> None:
    table = CorpusTable(store)
    table.append([Change("a", Document("a", "Title", "Text."), "first")])
    table.append([Change("a", None, "second")])
    publish(store, tmp_path / "1", 1)
    create(store, 1, State.LIVE, version=1)
    generations, controls = Generations(store), Controls(store)
    generations.commit(1, after=None, by="a", why="refresh")
    now, began = [60.0], time.time()
    keeper = housekeeping(store, lambda: now[0], erase_within=100.0, wall=lambda: began + now[0])
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


# The oldest deletion's deadline is known from the deletion to the end of the last file.

WITHIN = 40 * 3600.0
HOURS = 3600.0


class Due:
    """What the gauge shows."""

    at = -1.0

    def __call__(self, due: float) -> None:
        self.at = due


def test_the_oldest_that_waits_is_due_first(store: Store) -> None:
    due = Due()
    erasures = ErasureDeadlines(store, 100.0, due)
    erasures.in_table(None)
    assert due.at == 0.0
    erasures.in_table(50.0)
    assert due.at == 150.0
    erasures.dropped(PendingErasure(50.0, version=3, vacuum_at=80.0))
    erasures.in_table(70.0)
    assert due.at == 150.0, "its files are there"
    erasures.dropped(PendingErasure(60.0, version=5, vacuum_at=95.0))
    assert erased_upto(store) == 5
    erasures.vacuumed(79.0, [9])
    assert due.at == 150.0, "that vacuum came too early for its files"
    erasures.vacuumed(81.0, [2, 9])
    assert due.at == 150.0, "an index of before the deletion has files"
    erasures.vacuumed(81.0, [9])
    assert due.at == 160.0
    erasures.vacuumed(96.0, [])
    assert due.at == 170.0, "what the table still tells of"
    erasures.in_table(None)
    assert due.at == 0.0
    assert erased_upto(store) == 5


def test_what_waits_is_known_to_the_next_leader(store: Store) -> None:
    ErasureDeadlines(store, 100.0, Due()).dropped(PendingErasure(50.0, version=3, vacuum_at=80.0))
    due = Due()
    ErasureDeadlines(store, 100.0, due).in_table(None)
    assert due.at == 150.0


@pytest.fixture
def table(store: Store) -> CorpusTable:
    made = CorpusTable(store)
    made.append([Change("a", Document("a", "Title", "Gone."), "1")])
    made.append([Change("b", Document("b", "Title", "Stays."), "2")])
    made.append([Change("a", None, "3")])
    return made


def due(metrics: IndexerMetrics) -> float:
    return float(metrics.erasure_due._value.get())


def test_where_no_index_is_yet_a_deletion_waits_all_the_same(
    store: Store, table: CorpusTable, metrics: IndexerMetrics
) -> None:
    housekeeping(store, lambda: 0.0, erase_within=WITHIN, metrics=metrics).maintain_table()
    assert due(metrics) == pytest.approx(time.time() + WITHIN, abs=60)


def test_a_deletion_is_done_with_when_table_files_and_indexes_are(
    store: Store, table: CorpusTable, tmp_path: Path, metrics: IndexerMetrics
) -> None:
    publish(store, tmp_path / "1", 1)
    create(store, 1, State.LIVE, version=2)
    generations = Generations(store)
    generations.commit(1, after=None, by="a", why="refresh")
    deleted, now = time.time(), [time.time()]
    keeper = housekeeping(
        store,
        lambda: 0.0,
        age=Ages(lambda: now[0]).of,
        erase_within=WITHIN,
        wall=lambda: now[0],
        metrics=metrics,
    )

    def later(hours: float) -> None:
        now[0] = deleted + hours * HOURS
        keeper.maintain_table()

    later(1)
    assert due(metrics) == pytest.approx(deleted + WITHIN, abs=60)
    later(WITHIN / HOURS + 5)
    assert due(metrics) == pytest.approx(deleted + WITHIN, abs=60), "overdue: live was made before"
    assert due(metrics) < now[0]

    generations.create(replace(generation(2, version=3), created_at=now[0]))
    for number, state in ((2, State.LIVE), (1, State.RETIRED)):
        generations.record(number, state)
    generations.commit(2, after=generations.live(), by="a", why="refresh")
    later(WITHIN / HOURS + 6)
    assert erased_upto(store) == 3
    assert CorpusTable(store).oldest_deletion() is None
    assert due(metrics) == pytest.approx(deleted + WITHIN, abs=60), "old files of the table remain"
    later(WITHIN / HOURS + 20)
    assert due(metrics) == 0.0
