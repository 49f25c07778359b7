"""When the oldest deletion must be done with is known from the deletion to the last file's end."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from realm.corpus.documents import Document
from realm.corpus.table import Change, CorpusTable
from realm.records.ages import Ages
from realm.records.controls import Controls
from realm.records.generations import Generations
from realm.records.retention import Retention, erased_upto
from realm.records.snapshots import Snapshots
from realm.records.states import State
from realm.records.store import Store
from services.indexer.leader.erasures import ErasureDeadlines, PendingErasure
from services.indexer.leader.housekeeping import Housekeeping
from tests.unit.indexer.examples import create, generation, publish

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


def test_where_no_index_is_yet_a_deletion_waits_all_the_same(
    store: Store, table: CorpusTable
) -> None:
    due, generations, snapshots = Due(), Generations(store), Snapshots(store)
    Housekeeping(
        store=store, snapshots=snapshots, generations=generations,
        retention=Retention(store, snapshots, generations, 60.0), controls=Controls(store),
        index=None, submit=lambda chore: chore(table), erase_within_seconds=WITHIN,
        on_erasure_due=due,
    ).maintain_table()  # fmt: skip
    assert due.at == pytest.approx(time.time() + WITHIN, abs=60)


def test_a_deletion_is_done_with_when_table_files_and_indexes_are(
    store: Store, table: CorpusTable, tmp_path: Path
) -> None:
    publish(store, tmp_path / "1", 1)
    create(store, 1, State.LIVE, version=2)
    generations, snapshots = Generations(store), Snapshots(store)
    generations.commit(1, after=None, by="a", why="refresh")
    deleted, now = time.time(), [time.time()]
    due = Due()
    keeper = Housekeeping(
        store=store, snapshots=snapshots, generations=generations,
        retention=Retention(
            store, snapshots, generations, 60.0, age=Ages(lambda: now[0]).of
        ), controls=Controls(store),
        index=None, submit=lambda chore: chore(table), erase_within_seconds=WITHIN,
        on_erasure_due=due, wall=lambda: now[0],
    )  # fmt: skip

    def later(hours: float) -> None:
        now[0] = deleted + hours * HOURS
        keeper.maintain_table()

    later(1)
    assert due.at == pytest.approx(deleted + WITHIN, abs=60)
    later(WITHIN / HOURS + 5)
    assert due.at == pytest.approx(deleted + WITHIN, abs=60), "overdue: live was made before it"
    assert due.at < now[0]

    generations.create(replace(generation(2, version=3), created_at=now[0]))
    for number, state in ((2, State.LIVE), (1, State.RETIRED)):
        generations.record(number, state)
    generations.commit(2, after=generations.live(), by="a", why="refresh")
    later(WITHIN / HOURS + 6)
    assert erased_upto(store) == 3
    assert table.oldest_deletion() is None
    assert due.at == pytest.approx(deleted + WITHIN, abs=60), "old files of the table are there"
    later(WITHIN / HOURS + 20)
    assert due.at == 0.0
