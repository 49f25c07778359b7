"""The corpus table: versions, newest states, and the second writer."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.corpus.documents import Document
from realm.corpus.table import Change, CorpusTable
from realm.errors import Conflict
from realm.store import Store


def upsert(document_id: str, text: str = "text", request: str = "r") -> Change:
    return Change(document_id, Document(document_id, "title", text, {"k": "v"}), request)


def delete(document_id: str, request: str = "r") -> Change:
    return Change(document_id, None, request)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path))


@pytest.fixture
def table(store: Store) -> CorpusTable:
    return CorpusTable(store)


def test_each_append_is_the_next_version(table: CorpusTable) -> None:
    assert table.version == 0
    assert [table.append([upsert("a")]), table.append([delete("a")])] == [1, 2]


def test_a_document_comes_back_whole(table: CorpusTable) -> None:
    table.append([upsert("a", "body")])
    found = table.get("a")
    assert found
    assert found.document == Document("a", "title", "body", {"k": "v"})
    assert found.version == 1


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
    assert other.get("b") is None
    assert other.append([upsert("b")]) == 2


def test_another_opener_sees_what_was_appended(store: Store, table: CorpusTable) -> None:
    table.append([upsert("a", request="q1")])
    other = CorpusTable(store)
    assert other.get("a")
    assert other.requests(0) == {"q1": 1}
    assert other.written_at(1) is not None
    assert other.written_at(9) is None


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
