"""The corpus is a Delta table: other programs read it, and what earlier releases wrote opens."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake

from realm.corpus import delta_log
from realm.corpus.documents import Document
from realm.corpus.table import CONFIGURATION, SCHEMA, Change, CorpusTable
from realm.errors import DamagedCorpus
from realm.records.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path))


def upsert(name: str, text: str = "text") -> Change:
    return Change(name, Document(name, "title", text, {"k": "v"}), f"request {name}")


def folder(store: Store) -> Path:
    assert store.root
    return store.root / "corpus"


def theirs(store: Store) -> pa.Table:
    """As the Delta library reads it, with no help of ours."""
    return DeltaTable(str(folder(store))).to_pyarrow_table().sort_by("version")


def row(name: str, version: int, text: str = "old") -> dict[str, object]:
    return {
        "version": version, "op": "upsert", "document_id": name, "title": "t", "text": text,
        "metadata": "{}", "request_id": f"r{version}", "bucket": 0, "written_at": time.time(),
    }  # fmt: skip


#: Before requests had digests, and documents answers.
EARLIER = pa.schema([each for each in SCHEMA if each.name not in ("request_digest", "answer")])


def written_by_an_earlier_release(store: Store, versions: int) -> DeltaTable:
    table = DeltaTable.create(str(folder(store)), EARLIER, configuration=CONFIGURATION)
    for version in range(1, versions + 1):
        rows = pa.Table.from_pylist([row(f"d{version}", version)], schema=EARLIER)
        properties = CommitProperties(max_commit_retries=0)
        write_deltalake(table, rows, mode="append", commit_properties=properties)
    return table


def test_a_delta_reader_sees_the_same_rows_at_every_stage(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta_log, "LOG_SECONDS", -1.0)
    table = CorpusTable(store)
    for number in range(5):
        table.append([upsert("a", f"text {number}"), upsert(f"b{number}")])
    assert theirs(store)["text"].to_pylist()[::2] == [f"text {number}" for number in range(5)]
    assert theirs(store).schema.names == SCHEMA.names
    table.purge(4, 0.0, 0.0)
    rows = theirs(store)
    assert rows["op"].to_pylist().count("erased") == 3
    table.compact()
    assert theirs(store).equals(rows)
    assert table.vacuum(0) > 0
    assert theirs(store).equals(rows)
    table.trim_log()
    assert len(list((folder(store) / "_delta_log").glob("*.json"))) == 1
    assert theirs(store).equals(rows)
    assert table.append([upsert("c")]) == table.version == DeltaTable(str(folder(store))).version()


def test_a_table_of_an_earlier_release_is_gone_on_with(store: Store) -> None:
    made = written_by_an_earlier_release(store, 3)
    made.optimize.compact()
    made.create_checkpoint()
    write_deltalake(made, pa.Table.from_pylist([row("d5", 5)], schema=EARLIER), mode="append")
    table = CorpusTable(store)
    assert table.version == 5
    assert table.append([upsert("new")]) == 6
    assert {s.document_id for s in table.states(6)} == {"d1", "d2", "d3", "d5", "new"}
    assert theirs(store).num_rows == 5
    assert theirs(store).schema.names == SCHEMA.names
    assert table.requests(10)["request_id"].to_pylist() == ["r1", "r2", "r3", "r5", "request new"]
    # A release that is gone back to goes on with ours.
    write_deltalake(DeltaTable(str(folder(store))), theirs(store).slice(0, 1), mode="append")
    assert table.refresh() == 7


def test_waste_of_an_earlier_release_goes(store: Store) -> None:
    written_by_an_earlier_release(store, 3).optimize.compact()
    forgotten = folder(store) / "part-00000-8f14e45f-c000.snappy.parquet"
    forgotten.write_bytes(b"")
    table = CorpusTable(store)
    assert table.vacuum(0) == 3, "those that it compacted"
    assert forgotten.exists(), "perhaps somebody is about to commit it"
    os.utime(forgotten, (0, 0))
    assert table.vacuum(0) == 1
    assert theirs(store).num_rows == 3


def test_a_damaged_checkpoint_is_passed_over(store: Store) -> None:
    table = CorpusTable(store)
    for number in range(3):
        table.append([upsert(f"d{number}")])
    table.trim_log()
    (found,) = (folder(store) / "_delta_log").glob("*.checkpoint.parquet")
    found.write_bytes(found.read_bytes()[:40])
    assert len(list(CorpusTable(store).states(3))) == 3


def test_a_damaged_file_is_named(store: Store) -> None:
    table = CorpusTable(store)
    table.append([upsert("a")])
    (found,) = folder(store).glob("*.parquet")
    found.write_bytes(found.read_bytes()[:40])
    with pytest.raises(DamagedCorpus, match=found.name):
        table.lookup("a")()


def test_a_reader_at_an_old_version_finds_what_a_vacuum_moved(store: Store) -> None:
    writer = CorpusTable(store)
    for number in range(3):
        writer.append([upsert(f"d{number}")])
    reader = CorpusTable(store)
    writer.compact()
    assert writer.vacuum(0) == 3
    assert len(list(reader.states(3))) == 3


def test_many_versions_keep_the_log_short_to_read(store: Store) -> None:
    table = CorpusTable(store)
    for number in range(delta_log.CHECKPOINT_EVERY + 2):
        table.append([upsert(f"d{number}")])
    checkpoints = list((folder(store) / "_delta_log").glob("*.checkpoint.parquet"))
    assert [each.name[:20] for each in checkpoints] == [f"{delta_log.CHECKPOINT_EVERY:020d}"]
    assert CorpusTable(store).version == table.version
