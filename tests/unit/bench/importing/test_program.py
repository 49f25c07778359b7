"""From what was observed to claims."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.importing.program import BENCH, MIB, Corpus, Held, Look, Observed, judge, read
from realm.corpus.table import Change, CorpusTable
from realm.records.store import Store

COUNT = 1_000_000


def look(share: float, **mib: int) -> Look:
    return Look(500 * share, round(COUNT * share), {n: int(m * MIB) for n, m in mib.items()})


GOOD = Observed(
    looks=[
        look(0.1, **{"import": 80, "indexer": 200, "gateway": 600}),
        look(0.25, **{"import": 100, "indexer": 240, "gateway": 600}),
        look(1.0, **{"import": 120, "indexer": 250, "gateway": 610}),
    ],
    bytes=560_000_000,
    resumed=400_000,
    written=600_000,
    problems=0,
    seconds=500.0,
    leader_restarts=1,
    held=Held(rows=COUNT, absent=0, other=0, strange=0),
)


def failing(observed: Observed) -> list[str]:
    return [each.claim for each in judge(BENCH.full, observed).claims if not each.holds]


def test_an_import_that_was_resumed_keeps_all_claims() -> None:
    assert failing(GOOD) == []
    assert judge(BENCH.full, GOOD).figures["documents_per_second"] == 2000


@pytest.mark.parametrize(
    ("change", "claim"),
    [
        ({"held": Held(COUNT, 1, 0, 0)}, "documents that the corpus lacks"),
        ({"held": Held(COUNT, 0, 1, 0)}, "documents that differ, or that nobody gave"),
        ({"held": Held(COUNT, 0, 0, 1)}, "documents that differ, or that nobody gave"),
        ({"held": Held(COUNT + 1, 0, 0, 0)}, "documents written more than once"),
        ({"problems": 1}, "documents that were left out"),
        ({"resumed": 0}, "written before the kill, and not again"),
        ({"leader_restarts": 0}, "leaders killed under it"),
        (
            {"looks": [*GOOD.looks, look(1.0, **{"import": 300})]},
            "MiB of the command at the most",
        ),
        (
            {"looks": [*GOOD.looks, look(1.0, indexer=400)]},
            "memory of indexer and gateway, of that at a quarter",
        ),
    ],
)
def test_each_fault_breaks_its_claim(change: dict[str, Any], claim: str) -> None:
    assert failing(replace(GOOD, **change)) == [claim]


def test_what_the_corpus_holds_is_told_document_by_document(tmp_path: Path) -> None:
    store, corpus = Store.open(str(tmp_path)), Corpus(["kea", "moa"], 3)
    table = CorpusTable(store)

    def write(number: int, text: str = "") -> Change:
        made = corpus.document(number)
        return Change(made.id, replace(made, text=text or made.text), f"request-{number}-{text}")

    table.append([write(number) for number in range(4)])
    assert read(store, corpus, 4) == Held(rows=4, absent=0, other=0, strange=0)
    table.append([write(2)])
    assert read(store, corpus, 4) == Held(rows=5, absent=0, other=0, strange=0)
    table.append([write(1, "other"), write(7)])
    assert read(store, corpus, 5) == Held(rows=7, absent=1, other=1, strange=1)
