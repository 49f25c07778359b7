"""The corpus table when power is cut at any point of what is done to it."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from realm.corpus import delta_log
from realm.corpus.documents import Document
from realm.corpus.table import Change, CorpusTable
from realm.records.store import Store
from tests.crash import Disk


def upsert(name: str) -> Change:
    return Change(name, Document(name, "title", "text", {}), name)


def run(folder: Path, *, syncs: bool = True) -> None:
    disk = Disk(folder / "disk", syncs=syncs)
    disk.root.mkdir()
    #: After so many operations these were acknowledged; whatever follows may be there too.
    acknowledged: list[tuple[int, set[str]]] = []
    present: set[str] = set()

    def now(*names: str) -> None:
        present.update(names)
        acknowledged.append((len(disk.ops), set(present)))

    with disk.recording():
        table = CorpusTable(Store.open(str(disk.root / "store")))
        now()
        for number in range(3):
            table.append([upsert(f"d{number}"), upsert("again")])
            now(f"d{number}", "again")
        table.purge(table.version, 0.0, 0.0)
        now()
        table.compact()
        now()
        table.vacuum(0)
        now()
        table.trim_log()
        table.append([upsert("last")])
        now("last")
    for cut in range(acknowledged[0][0], len(disk.ops) + 1):
        there = [names for since, names in acknowledged if since <= cut][-1]
        for seed in range(2):
            left = folder / f"left-{cut}-{seed}"
            disk.after(cut, random.Random(seed), left)
            found = CorpusTable(Store.open(str(left / "store")))
            states = {state.document_id for state in found.states(found.version)}
            assert there <= states <= present, (cut, seed)
            found.append([upsert("afterwards")])
            assert found.lookup("afterwards")(), (cut, seed)


@pytest.fixture(autouse=True)
def _nothing_is_kept_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta_log, "LOG_SECONDS", -1.0)
    monkeypatch.setattr(time, "time", lambda: 1.8e9)


def test_the_table_survives_a_power_cut_at_any_point(tmp_path: Path) -> None:
    run(tmp_path)


def test_without_syncs_the_power_cut_would_be_seen(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"."):
        run(tmp_path, syncs=False)
