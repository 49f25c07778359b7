"""The corpus table: versions, newest states, and the second writer."""

import math
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.corpus import compaction
from realm.corpus.documents import Document
from realm.corpus.erasure import ErasureQuery, search_store
from realm.corpus.table import Change, CorpusTable, Write
from realm.errors import Conflict
from realm.records.store import Store


def upsert(document_id: str, text: str = "text", request: str = "r") -> Change:
    made = Document(document_id, "title", text, {"k": "v"}, f"the answer: {text}")
    return Change(document_id, made, request)


def delete(document_id: str, request: str = "r") -> Change:
    return Change(document_id, None, request)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path))


@pytest.fixture
def table(store: Store) -> CorpusTable:
    return CorpusTable(store)


def test_a_document_comes_back_whole(table: CorpusTable) -> None:
    table.append([upsert("a", "body")])
    found = table.lookup("a")()
    assert found
    assert found.document == Document("a", "title", "body", {"k": "v"}, "the answer: body")
    assert found.version == 1


def test_writes_are_told_in_order_without_their_texts(table: CorpusTable) -> None:
    table.append([upsert("a", "1"), upsert("b", "of ten: ä")])
    table.append([delete("a"), upsert("a", "again")])
    table.append([delete("b")])
    table.compact()
    title = len("title")
    assert table.writes(0, table.version) == [
        Write("a", 1, title + 1),
        Write("b", 1, title + 9),
        Write("a", 2, 0),
        Write("a", 2, title + 5),
        Write("b", 3, 0),
    ]
    assert table.writes(1, 2) == [Write("a", 2, 0), Write("a", 2, title + 5)]


def test_small_files_are_joined_and_nothing_is_written_often(
    store: Store, table: CorpusTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "SCATTERED_FILES", 8)
    monkeypatch.setattr(compaction, "YOUNGEST_FILES", 4)
    writes, random = 100, Random(0)

    def written() -> int:
        """Bytes, those of files that were joined since too: they are there until a vacuum."""
        paths = (path for path in store.files("corpus") if path.endswith(".parquet"))
        return sum(len(store.read(path)) for path in paths)

    for number in range(writes):
        table.append([upsert(f"d{number}", random.randbytes(8000).hex())])
        if number == 0:
            one = written()
        if table.is_scattered:
            table.compact()
        assert not table.is_scattered
    documents = {state.document_id for state in table.states(table.version)}
    assert documents == {f"d{number}" for number in range(writes)}
    assert written() <= one * writes * (1 + math.log2(writes / 4))


def test_changes_give_each_document_once_in_its_newest_state(table: CorpusTable) -> None:
    table.append([upsert("a", "1"), upsert("b", "1")])
    table.append([upsert("a", "2")])
    table.append([delete("b"), upsert("c", "3")])
    changed = {state.document_id: state for state in table.changes(1, 3)}
    assert set(changed) == {"a", "b", "c"}
    assert changed["a"].version == 2
    assert changed["b"].document is None
    assert {state.document_id for state in table.changes(1, 2)} == {"a"}


def test_of_two_writers_the_second_is_refused_and_nothing_is_written(
    store: Store, table: CorpusTable
) -> None:
    other = CorpusTable(store)
    table.append([upsert("a")])
    with pytest.raises(Conflict, match="version 1"):
        other.append([upsert("b")])
    other.refresh()
    assert other.lookup("b")() is None
    assert other.append([upsert("b")]) == 2


def test_another_opener_sees_what_was_appended(store: Store, table: CorpusTable) -> None:
    table.append([upsert("a", request="q1")])
    other = CorpusTable(store)
    assert other.lookup("a")()
    assert other.requests(9)["request_id"].to_pylist() == ["q1"]


def test_the_oldest_write_is_known_of_files_that_were_joined_too(table: CorpusTable) -> None:
    for each in "abcd":
        table.append([upsert(each)])
    times = [table.oldest_write(after) for after in range(4)]
    assert None not in times, "by what the log tells"
    table.compact()
    assert [table.oldest_write(after) for after in range(4)] == times, "by what is read"
    assert table.oldest_write(4) is None
    assert table.oldest_write(table.version) is None


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from("abc"), st.one_of(st.none(), st.text(min_size=1))),
            min_size=1,
            max_size=3,
        ),
        min_size=1,
        max_size=5,
    )
)
def test_states_equal_a_dictionary_written_in_order(
    tmp_path_factory: pytest.TempPathFactory, groups: list[list[tuple[str, str | None]]]
) -> None:
    table = CorpusTable(Store.open(str(tmp_path_factory.mktemp("corpus"))))
    expected: dict[str, str] = {}
    for group in groups:
        table.append([delete(name) if text is None else upsert(name, text) for name, text in group])
        for name, text in group:
            if text is None:
                expected.pop(name, None)
            else:
                expected[name] = text
    found = {s.document_id: s.document.text for s in table.states(table.version) if s.document}
    assert found == expected


def test_forgotten_rows_leave_states_changes_and_request_ids(table: CorpusTable) -> None:
    table.append([upsert("a", "1", "r1"), upsert("b", "1", "r2")])
    table.append([upsert("a", "2", "r3"), delete("b", "r4")])
    table.append([upsert("a", "3", "r5"), upsert("c", "3", "r6")])
    before, changes = list(table.states(3)), table.changes(2, 3)
    found = table.purge(2, requests_since=0.0, deletions_before=time.time() + 1)
    assert (found.rows, found.deleted_upto) == (3, 2)
    assert list(table.states(table.version)) == before
    assert table.changes(2, 3) == changes
    assert {state.document_id for state in table.changes(0, 3)} == {"a", "c"}
    rows = table.requests(9).to_pylist()
    known = {row["request_id"]: row["version"] for row in rows}
    assert known == {"r1": 1, "r2": 1, "r3": 2, "r4": 2, "r5": 3, "r6": 3}
    assert table.purge(2, 0.0, time.time() + 1).rows == 0
    later = table.append([upsert("b", "again")])
    assert later == table.version
    assert {state.document_id for state in table.states(later)} == {"a", "b", "c"}


def test_a_deletion_is_remembered_until_its_time(table: CorpusTable) -> None:
    table.append([upsert("a")])
    table.append([delete("a")])
    assert table.deleted_before(time.time() + 1) == 2
    assert table.purge(2, 0.0, deletions_before=0.0).deleted_upto == 0
    assert [state.document_id for state in table.changes(1, 2)] == ["a"]
    assert table.purge(2, 0.0, time.time() + 1).deleted_upto == 2
    assert table.deleted_before(time.time() + 1) == 0


def test_nothing_of_a_deleted_document_is_left_in_any_file(
    store: Store, table: CorpusTable
) -> None:
    table.append([upsert("the-first", "a secret"), upsert("the-second", "no secret at all")])
    table.append([delete("the-first")])
    table.purge(2, requests_since=time.time() + 1, deletions_before=time.time() + 1)
    table.compact()
    assert table.vacuum(hours=0) > 0
    table.trim_log()
    assert table.vacuum(hours=0) == 0
    wanted = ErasureQuery(["the-first"], ["a secret"])
    assert search_store(store, wanted) == []
    assert search_store(store, ErasureQuery(["the-second"]))
    assert CorpusTable(store).lookup("the-second")()
    assert table.append([upsert("the-third")]) == table.version


@settings(max_examples=15, deadline=None)
@given(
    writes=st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), min_size=1, max_size=8),
    floor=st.integers(1, 8),
)
def test_forgetting_changes_no_state_at_or_after_the_floor(
    writes: list[tuple[str, bool]], floor: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        table = CorpusTable(Store.open(folder))
        for name, exists in writes:
            table.append([upsert(name, request=f"{name}{exists}") if exists else delete(name)])
        newest, floor = table.version, min(floor, table.version)
        states = {upto: list(table.states(upto)) for upto in range(floor, newest + 1)}
        changes = {after: table.changes(after, newest) for after in range(floor, newest)}
        table.purge(floor, 0.0, time.time() + 1)
        assert {upto: list(table.states(upto)) for upto in states} == states
        assert {after: table.changes(after, newest) for after in changes} == changes


def test_of_many_who_find_no_table_one_makes_it(tmp_path: Path) -> None:
    """Tried again, the others' would be versions of their own, and the first write be refused."""
    for attempt in range(8):
        store = Store.open(str(tmp_path / str(attempt)))
        together = threading.Barrier(4)

        def open_it(store: Store = store, together: threading.Barrier = together) -> int:
            together.wait(10)
            return CorpusTable(store).version

        with ThreadPoolExecutor(4) as threads:
            opened = [threads.submit(open_it) for _ in range(4)]
            assert [each.result(20) for each in opened] == [0] * 4
