"""The corpus is the only copy of what users wrote: damage to it is refused, never read as rows."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from realm.corpus import delta_log
from realm.corpus.documents import Document
from realm.corpus.table import Change, CorpusTable, DocumentState
from realm.errors import DamagedCorpus
from realm.records.store import Store

#: Every so many bytes of a file are altered.
STEP = 127


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A table of several versions; an edit and a deletion among them."""
    store = Store.open(str(tmp_path))
    table = CorpusTable(store)
    words = random.Random(0).choices(["one", "two", "three", "four", "five"], k=300)
    for number in range(4):
        text = " ".join(words[number * 50 :])
        table.append([upsert(f"d{number}", text), upsert("d", text), upsert(f"e{number}", "e")])
    table.append([Change("e0", None, "deleted")])
    return store


def upsert(name: str, text: str) -> Change:
    return Change(name, Document(name, "title", text, {"k": "v"}), f"request {name}")


def states(store: Store) -> list[DocumentState]:
    table = CorpusTable(store)
    found = sorted(table.states(table.version), key=lambda state: state.document_id)
    return [*found, *table.changes(0, table.version)]


def damages(data: bytes) -> Iterator[bytes]:
    """A bit flipped at many places, and what is left of the file after a power cut."""
    for place in range(0, len(data), STEP):
        yield data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]
        yield data[:place]


def attack(store: Store, path: str) -> None:
    assert store.root
    whole, data, file = states(store), store.read(path), store.root / path
    for damaged in damages(data):
        with file.open("r+b") as opened:  # ext4 flushes at once what is emptied first
            opened.write(damaged)
            opened.truncate()
        try:
            found = states(store)
        except DamagedCorpus:
            continue
        assert found == whole
    file.write_bytes(data)
    assert states(store) == whole


def data_files(store: Store) -> list[str]:
    return [path for path in store.files("corpus") if path.startswith("corpus/part-")]


def test_no_damage_to_a_data_file_changes_what_is_read(store: Store) -> None:
    attack(store, data_files(store)[1])


def test_no_damage_to_an_entry_of_the_log_changes_what_is_read(store: Store) -> None:
    for entry in (2, 5):
        attack(store, f"corpus/_delta_log/{entry:020d}.json")


def test_damage_behind_a_checkpoint_is_found_too(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta_log, "LOG_SECONDS", -1.0)
    table = CorpusTable(store)
    table.trim_log()
    attack(store, data_files(store)[1])


def test_no_damage_to_a_checkpoint_changes_what_is_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta_log, "LOG_SECONDS", -1.0)
    CorpusTable(store).trim_log()
    attack(store, f"corpus/_delta_log/{5:020d}.checkpoint.parquet")
