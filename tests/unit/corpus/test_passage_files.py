from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.corpus.documents import Document, stable_bucket
from realm.corpus.passage_files import (
    MAX_SHARDS,
    build_passage_files,
    content_name,
    shard_count,
    shard_of,
)
from realm.corpus.passages import Passage, from_table, split_document
from realm.corpus.table import BUCKETS, DocumentState
from realm.errors import Corrupt
from realm.model.inputs import InputBuilder
from realm.records import arrow
from realm.records.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path))


#: One step of a corpus' life: document number → edition, or None for a deletion.
Edits = dict[int, int | None]


def state(number: int, version: int, edition: int | None) -> DocumentState:
    name = f"document-{number}"
    text = f"Text of {number}. Edition {edition} is here. " * 3
    document = None if edition is None else Document(name, f"Title {number}", text)
    return DocumentState(name, version, document, stable_bucket(name, BUCKETS))


def read(store: Store, files: tuple[str, ...]) -> list[Passage]:
    return [each for path in files for each in from_table(arrow.read_table(store, path))]


def fixed(shards: int):  # type: ignore[no-untyped-def]
    return lambda passages, current: shards


@given(passages=st.integers(0, 10**9), rate=st.floats(0.1, 1e5), seconds=st.floats(0.1, 100))
def test_shard_count_is_a_power_of_two_and_keeps_itself(
    passages: int, rate: float, seconds: float
) -> None:
    count = shard_count(passages, rate, seconds)
    assert 1 <= count <= MAX_SHARDS
    assert count & (count - 1) == 0
    assert shard_count(passages, rate, seconds, count) in {count, MAX_SHARDS}


@given(rate=st.floats(1, 1000), count=st.sampled_from([1, 8, 64]), load=st.floats(0.55, 1.9))
def test_a_shard_may_take_half_or_twice_the_wished_time(
    rate: float, count: int, load: float
) -> None:
    passages = round(count * rate * 10_000 * load)
    assert shard_count(passages, rate, 10_000, count) == count


def test_shard_count_follows_a_corpus_that_grew() -> None:
    assert shard_count(60_000, 50.0, 10.0) == 128
    assert shard_count(60_000, 50.0, 10.0, current=1) == 128


@settings(max_examples=20, deadline=None)
@given(
    steps=st.lists(
        st.dictionaries(st.integers(0, 9), st.none() | st.integers(0, 3), max_size=5),
        min_size=1,
        max_size=4,
    ),
    shards=st.lists(st.sampled_from([1, 2, 4]), min_size=4, max_size=4),
)
def test_built_from_changes_equals_built_from_scratch(
    inputs: InputBuilder, steps: list[Edits], shards: list[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(folder)
        files: tuple[str, ...] = ()
        corpus: dict[int, DocumentState] = {}
        for version, (edits, count) in enumerate(zip(steps, shards, strict=False), 1):
            changed = [state(number, version, edition) for number, edition in edits.items()]
            corpus.update(zip(edits, changed, strict=True))
            files = build_passage_files(store, inputs, files, changed, version, fixed(count))
            everything = list(corpus.values())
            scratch = build_passage_files(store, inputs, (), everything, version, fixed(count))
            assert set(files) == set(scratch)
        expected = [
            passage
            for each in corpus.values()
            if each.document
            for passage in split_document(each.document, each.version, inputs)
        ]
        found = read(store, files)
        order = [(passage.document_id, passage.ordinal) for passage in found]
        assert sorted(order) == sorted((p.document_id, p.ordinal) for p in expected)
        by_id = {passage.passage_id: passage for passage in found}
        assert by_id == {passage.passage_id: passage for passage in expected}


def test_only_the_shards_of_changed_documents_are_written(
    inputs: InputBuilder, store: Store
) -> None:
    states = [state(number, 1, 0) for number in range(40)]
    before = build_passage_files(store, inputs, (), states, 1, fixed(8))
    assert [shard_of(path) for path in before] == [(8, index) for index in range(8)]
    changed = [state(3, 2, 1)]
    after = build_passage_files(store, inputs, before, changed, 2, fixed(8))
    differing = {shard_of(path)[1] for path in set(before) ^ set(after)}
    assert differing == {stable_bucket("document-3", 8)}


def test_documents_lie_in_the_residue_class_of_their_bucket(
    inputs: InputBuilder, store: Store
) -> None:
    states = [state(number, 1, 0) for number in range(40)]
    files = build_passage_files(store, inputs, (), states, 1, fixed(8))
    buckets = {each.document_id: each.bucket for each in states}
    for path in files:
        for name in arrow.read_table(store, path)["document_id"].to_pylist():
            assert buckets[name] % 8 == shard_of(path)[1]


def test_a_shard_without_passages_has_no_file(inputs: InputBuilder, store: Store) -> None:
    states = [state(number, 1, 0) for number in range(12)]
    before = build_passage_files(store, inputs, (), states, 1, fixed(4))
    gone = [state(n, 2, None) for n in range(12) if stable_bucket(f"document-{n}", 4) == 2]
    after = build_passage_files(store, inputs, before, gone, 2, fixed(4))
    assert [shard_of(path)[1] for path in after] == [0, 1, 3]
    everyone = [state(number, 3, None) for number in range(12)]
    assert build_passage_files(store, inputs, after, everyone, 3, fixed(4)) == ()


def test_a_damaged_file_is_refused(inputs: InputBuilder, store: Store) -> None:
    files = build_passage_files(store, inputs, (), [state(1, 1, 0)], 1, fixed(1))
    store.write(files[0], store.read(files[0])[:-1] + b"x")
    with pytest.raises(Corrupt):
        build_passage_files(store, inputs, files, [state(2, 2, 0)], 2, fixed(1))


def test_the_name_follows_the_content(inputs: InputBuilder, store: Store) -> None:
    names = set()
    for version, edition in ((1, 0), (1, 1), (2, 0)):
        files = build_passage_files(
            store, inputs, (), [state(1, version, edition)], version, fixed(1)
        )
        names.add(content_name(arrow.read_table(store, files[0])))
    assert len(names) == 3


def test_files_of_an_earlier_release_are_gone_on_from(inputs: InputBuilder, store: Store) -> None:
    """They know of no answers stored with questions."""
    states = [state(number, 1, 0) for number in range(20)]
    base = build_passage_files(store, inputs, (), states, 1, fixed(2))
    for path in base:
        table = arrow.read_table(store, path)
        arrow.write_table(store, path, table.drop_columns(["answer"]))
    pair = Document("pair", "", "Who pays?", {}, "We do.")
    edited = [DocumentState("pair", 2, pair, stable_bucket("pair", BUCKETS)), state(3, 2, 1)]
    made = build_passage_files(store, inputs, base, edited, 2, fixed(2))
    found = {one.document_id: one for one in read(store, made)}
    assert found.pop("pair").answer == "We do."
    assert len(found) == 20
    assert {one.answer for one in found.values()} == {""}
