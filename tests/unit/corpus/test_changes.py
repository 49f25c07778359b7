from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm import arrow
from realm.corpus.changes import (
    ChangedDocument,
    changes_file,
    read_changes,
    step_end,
    write_changes,
)
from realm.corpus.documents import Document
from realm.corpus.passages import PASSAGE_SCHEMA, split_document
from realm.corpus.table import DocumentState
from realm.errors import Corrupt
from realm.model.inputs import InputBuilder
from realm.store import Store

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


@given(
    versions=st.lists(st.integers(1, 50), min_size=1, max_size=80),
    limit=st.integers(1, 100),
)
def test_steps_make_progress_and_keep_to_the_limit(versions: list[int], limit: int) -> None:
    upto = max(versions)
    end = step_end(versions, upto, limit)
    assert min(versions) <= end <= upto
    inside = [version for version in versions if version <= end]
    # A version is never cut, so only the last one may go beyond the limit.
    assert len([version for version in inside if version < end]) < limit or end == upto
    assert len(inside) >= min(limit, len(versions))


def test_versions_without_documents_are_passed_over() -> None:
    assert step_end([], 9, 200) == 9
    assert step_end([4, 5], 9, 200) == 9
