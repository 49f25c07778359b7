"""A leader that sleeps at any point of its work on the corpus, while another one leads."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from realm.corpus import delta_log
from realm.corpus.documents import Document
from realm.corpus.table import Change, CorpusTable
from realm.errors import Conflict, NotFound
from realm.records.store import Store

WORKS: dict[str, Callable[[CorpusTable], object]] = {
    "vacuum": lambda table: table.vacuum(0),
    "compact": lambda table: table.compact(),
    "erase": lambda table: table.purge(table.version, time.time() + 1, time.time() + 1),
    "trim": lambda table: table.trim_log(),
    "append": lambda table: table.append([upsert("by-the-sleeper")]),
}


def upsert(name: str, text: str = "text") -> Change:
    return Change(name, Document(name, "title", text, {}), f"{name} {text}")


class Sleeping:
    """What a store keeps its files in; before the call of that number the world goes on."""

    def __init__(self, files: Any, at: int, meanwhile: Callable[[], object]) -> None:
        self._files = files
        self._at = at
        self._meanwhile = meanwhile
        self.calls = 0

    def _call(self) -> None:
        self.calls += 1
        if self.calls == self._at:
            self._meanwhile()

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._files, name)

        def call(*given: Any) -> Any:
            if name == "delete":
                given = (self._each(given[0]),)
            self._call()
            return real(*given)

        return call

    def _each(self, paths: Any) -> Iterator[str]:
        for path in paths:
            self._call()
            yield path


@pytest.fixture(autouse=True)
def _nothing_is_kept_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta_log, "LOG_SECONDS", -1.0)
    monkeypatch.setattr(delta_log, "CHECKPOINT_EVERY", 4)
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # no power is cut here


@pytest.mark.parametrize("work", WORKS)
def test_who_wakes_at_any_point_of_it_destroys_nothing(tmp_path: Path, work: str) -> None:
    for at in range(1, 200):
        store = Store.open(str(tmp_path / str(at)))
        first = CorpusTable(store)
        for number in range(3):
            first.append([upsert("a", f"{number}"), upsert(f"d{number}")])
        first.append([Change("d0", None, "gone")])
        first.purge(2, 0.0, 0.0)  # leaves waste for a vacuum
        expected = {"a", "d1", "d2"}

        def meanwhile(store: Store = store, expected: set[str] = expected) -> None:
            """The next leader writes, erases, tidies up, and writes again."""
            other = CorpusTable(store)
            for number in range(3):
                other.append([upsert(f"e{number}")])
                expected.add(f"e{number}")
            other.purge(other.version, 0.0, time.time() + 1)
            other.compact()
            other.vacuum(0)
            other.trim_log()
            other.append([upsert("after")])
            expected.add("after")

        sleeping = Sleeping(store._files, at, meanwhile)
        asleep = CorpusTable(Store(store.url, sleeping, store.root, tmp_path))
        sleeping.calls = 0
        doubtful = set()
        try:
            WORKS[work](asleep)
        except (Conflict, NotFound):
            # Of an append that was refused nobody knows whether it took place.
            doubtful = {"by-the-sleeper"}
        else:
            expected |= {"by-the-sleeper"} if work == "append" else set()
        slept = sleeping.calls >= at
        check(store, expected, doubtful)
        # And nothing that it did is in the way of whoever leads now.
        next_one = CorpusTable(store)
        next_one.append([upsert("later")])
        next_one.compact()
        next_one.vacuum(0)
        check(store, {*expected, "later"}, doubtful)
        if not slept:
            assert at > 2
            return
    raise AssertionError("it never ended")


@pytest.mark.parametrize("work", ["compact", "erase", "append"])
def test_a_sleeper_s_vacuum_takes_no_file_that_is_about_to_be_committed(
    tmp_path: Path, work: str
) -> None:
    for at in range(1, 100):
        store = Store.open(str(tmp_path / str(at)))
        first = CorpusTable(store)
        for number in range(3):
            first.append([upsert("a", f"{number}"), upsert(f"d{number}")])
        asleep = CorpusTable(store)
        first.append([upsert("b")])
        leading = Sleeping(store._files, at, partial(asleep.vacuum, 0))
        table = CorpusTable(Store(store.url, leading, store.root, tmp_path))
        leading.calls = 0
        WORKS[work](table)
        done = {"by-the-sleeper"} if work == "append" else set()
        check(store, {"a", "b", "d0", "d1", "d2", *done}, set())
        if leading.calls < at:
            assert at > 2
            return
    raise AssertionError("it never ended")


def check(store: Store, expected: set[str], doubtful: set[str]) -> None:
    table = CorpusTable(store)
    found = {state.document_id for state in table.states(table.version)}
    assert expected <= found <= expected | doubtful
    for name in expected:
        assert table.lookup(name)(), name
    assert store.root
    assert DeltaTable(str(store.root / "corpus")).to_pyarrow_table().num_rows >= len(expected)
