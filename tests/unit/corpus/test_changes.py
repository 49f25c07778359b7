from __future__ import annotations

from pathlib import Path

import pytest

from realm.corpus.changes import (
    ChangedDocument,
    changes_file,
    leave_out,
    read_changes,
    write_changes,
)
from realm.corpus.documents import Document
from realm.corpus.passages import PASSAGE_SCHEMA, split_document
from realm.corpus.table import DocumentState
from realm.errors import Corrupt
from realm.model.inputs import InputBuilder
from realm.records import arrow
from realm.records.store import Store

PATH = changes_file("fingerprint", 3, 7)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path))


def test_upserts_and_deletions_come_back(inputs: InputBuilder, store: Store) -> None:
    document = Document("kept", "A title", "Some text. More of it.", {"language": "en"})
    states = [DocumentState("kept", 5, document, 1), DocumentState("gone", 7, None, 2)]
    write_changes(store, PATH, states, inputs)
    changes = read_changes(store, PATH)
    assert changes.documents == (
        ChangedDocument("kept", 5, "upsert"),
        ChangedDocument("gone", 7, "delete"),
    )
    assert list(changes.passages) == split_document(document, 5, inputs)
    assert changes.passages[0].metadata == {"language": "en"}


def test_deletions_alone_have_no_passages(inputs: InputBuilder, store: Store) -> None:
    write_changes(store, PATH, [DocumentState("gone", 7, None, 2)], inputs)
    assert read_changes(store, PATH).passages == ()


def test_equal_changes_give_equal_files(inputs: InputBuilder, store: Store) -> None:
    states = [DocumentState("kept", 5, Document("kept", "", "Some text."), 1)]
    write_changes(store, PATH, states, inputs)
    first = store.read(PATH)
    write_changes(store, PATH, states, inputs)
    assert store.read(PATH) == first


def test_a_file_that_does_not_name_its_documents_is_refused(store: Store) -> None:
    arrow.write_table(store, PATH, PASSAGE_SCHEMA.empty_table())
    with pytest.raises(Corrupt, match="does not say which documents changed"):
        read_changes(store, PATH)


def test_what_is_left_out_loses_its_passages_and_stays_a_change(
    inputs: InputBuilder, store: Store
) -> None:
    states = [DocumentState(each, 5, Document(each, "", f"Of {each}."), 1) for each in "abc"]
    write_changes(store, PATH, states, inputs)
    leave_out(store, PATH, [states[1]])
    changes = read_changes(store, PATH)
    assert [each.document_id for each in changes.documents] == ["a", "b", "c"]
    assert [each.document_id for each in changes.passages] == ["a", "c"]
