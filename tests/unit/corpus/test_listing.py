"""Listings: each document once, in a stable order, whatever is written, compacted and purged."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from realm.corpus import listing
from realm.corpus.documents import Document, stable_bucket
from realm.corpus.listing import START, Page, Place, page
from realm.corpus.table import BUCKETS, Change, CorpusTable
from realm.filters import matches, where
from realm.records.store import Store
from realm.v1.types_pb2 import Filter


@pytest.fixture
def table(tmp_path: Path) -> CorpusTable:
    return CorpusTable(Store.open(str(tmp_path)))


def document(number: int, edition: int = 0) -> Document:
    metadata = {"number": str(number), "edition": str(edition)}
    return Document(f"d{number}", f"title {number}", f"text {number}.{edition}", metadata)


def write(table: CorpusTable, *documents: Document) -> None:
    table.append([Change(each.id, each, f"r{table.version}") for each in documents])


def delete(table: CorpusTable, *ids: str) -> None:
    table.append([Change(each, None, f"r{table.version}") for each in ids])


def listed(table: CorpusTable, given: Filter | None, most: int, **more: bool) -> list[Document]:
    """All pages, one after the other."""
    found: list[Document] = []
    after: Place | None = START
    while after is not None:
        got: Page = page(table, given, most, after, **more)
        assert len(got.documents) <= most
        found += [each.document for each in got.documents if each.document]
        after = got.end
    return found


@pytest.mark.parametrize("band", [3, 1_000])
@pytest.mark.parametrize("most", [1, 7, 1_000])
def test_pages_hold_each_document_that_passes_once(
    table: CorpusTable, monkeypatch: pytest.MonkeyPatch, band: int, most: int
) -> None:
    monkeypatch.setattr(listing, "BAND", band)
    numbers = range(40)
    write(table, *map(document, numbers))
    write(table, *(document(number, edition=1) for number in range(0, 40, 3)))
    delete(table, *(f"d{number}" for number in range(0, 40, 5)))
    state = {n: document(n, int(n % 3 == 0)) for n in numbers if n % 5}
    for given in (None, where("edition=1"), where("number<10", "edition!=1"), where("!number")):
        passing = [each for each in state.values() if matches(given, each.metadata)]
        found = listed(table, given, most)
        assert {each.id for each in found} == {each.id for each in passing}
        assert len(found) == len(passing)
        order = [(stable_bucket(each.id, BUCKETS), each.id) for each in found]
        assert order == sorted(order)
        assert not any(each.text for each in found)
        assert {each.title for each in found} == {each.title for each in passing}


def test_texts_come_when_they_are_asked_for(table: CorpusTable) -> None:
    write(table, *map(document, range(9)))
    found = listed(table, where("number>=7"), 5, texts=True)
    assert sorted(found, key=lambda each: each.id) == [document(7), document(8)]


def test_what_is_not_touched_is_listed_once_though_much_is_written(table: CorpusTable) -> None:
    """Between the pages others are written, edited, deleted; files are joined and purged."""
    rng = random.Random(1)
    write(table, *map(document, range(60)))
    kept = {f"d{number}" for number in range(30)}
    after: Place | None = START
    found: list[str] = []
    while after is not None:
        got = page(table, None, 4, after)
        found += [each.document_id for each in got.documents]
        after = got.end
        write(table, document(rng.randrange(30, 90), edition=rng.randrange(9)))
        delete(table, f"d{rng.randrange(30, 60)}")
        table.compact()
        table.purge(table.version, 0.0, 2e9)
    assert len(found) == len(set(found))
    assert kept <= set(found)


def test_a_page_ends_when_much_was_read_in_vain(
    table: CorpusTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MOST_READ", 10)
    write(table, *map(document, range(25)))
    first = page(table, where("number=none"), 100)
    assert not first.documents
    assert first.end is not None
    assert [each.id for each in listed(table, where("number=20"), 100)] == ["d20"]
