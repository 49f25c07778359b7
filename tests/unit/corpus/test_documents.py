"""Documents are validated with errors that name the field; the hashes of ids are stable."""

from __future__ import annotations

import sys
import unicodedata
import uuid
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.corpus.documents import (
    MAX_ID_BYTES,
    MAX_METADATA_BYTES,
    MAX_TITLE_BYTES,
    MAX_WRITES,
    Document,
    check_deletion,
    check_document,
    check_upsert,
    is_held_out,
    passage_id,
    shown,
    stable_bucket,
)
from realm.errors import InvalidInput

IDS = [f"wiki/{n}" for n in range(5_000)]
GOOD = Document("a", "", "Text.")


def test_a_sound_document_comes_back_unchanged() -> None:
    document = Document("a/b", "", "words\n\tand more", {"language": "en"})
    assert check_document(document, max_bytes=100) is document


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": ""}, "id"),
        ({"id": " \t"}, "id"),
        ({"id": "x" * 513}, "id"),
        ({"id": "é" * 257}, "id"),
        ({"id": "a\nb"}, "id"),
        ({"id": "a\u2028b"}, "id"),
        ({"id": "a\x7fb"}, "id"),
        ({"id": "a\ud800"}, "id"),
        ({"id": 7}, "id"),
        ({"title": "a\0b"}, "title"),
        ({"title": "t" * (MAX_TITLE_BYTES + 1)}, "title"),
        ({"title": None}, "title"),
        ({"text": ""}, "text"),
        ({"text": " \n\u3000"}, "text"),
        ({"text": "\u200b\ufeff\u2060\u00ad\u200e\u2028\x01"}, "text"),
        ({"text": "\u3164\u115f\u2800\ufe0f\u034f\U000e0020\U000e0100"}, "text"),
        ({"id": "\u200b\u2060"}, "id"),
        ({"text": "a\0b"}, "text"),
        ({"text": "a\udfff"}, "text"),
        ({"text": b"bytes"}, "text"),
        ({"metadata": {"page": 3}}, "metadata"),
        ({"metadata": {3: "page"}}, "metadata"),
        ({"metadata": ["page"]}, "metadata"),
        ({"metadata": {"k": "\ud800"}}, "metadata"),
        ({"metadata": {"k": "v" * MAX_METADATA_BYTES}}, "metadata"),
    ],
)
def test_a_bad_field_is_refused_by_name(change: dict[str, Any], field: str) -> None:
    values: dict[str, Any] = {"id": "d", "title": "t", "text": "words", "metadata": {}} | change
    with pytest.raises(InvalidInput) as raised:
        check_document(Document(**values), max_bytes=100)
    assert raised.value.details["field"] == field


def test_every_character_that_breaks_a_log_line_is_escaped_and_no_other() -> None:
    for char in map(chr, range(sys.maxunicode + 1)):
        breaks = unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"}
        assert breaks == (shown(char) != f"'{char}'"), ascii(char)


def test_text_over_the_limit_says_both_sizes() -> None:
    with pytest.raises(InvalidInput, match=r"12 bytes.*limit is 11") as raised:
        check_document(Document("d", "t", "é" * 6), max_bytes=11)
    assert raised.value.details == {"field": "text", "document_id": "d"}
    check_document(Document("d", "t", "é" * 6), max_bytes=12)


def test_hashes_never_change() -> None:
    """These values are on disk in every store: a change here loses documents."""
    assert [stable_bucket(name, 64) for name in ("a", "b", "日本")] == [28, 33, 49]
    assert passage_id("a", 0) == "9e9a03a0-8e50-5645-83d6-506dd7281ead"


def test_buckets_are_even() -> None:
    counts = Counter(stable_bucket(name, 8) for name in IDS)
    assert set(counts) == set(range(8))
    assert all(500 < count < 750 for count in counts.values())


def test_no_bucket_is_refused() -> None:
    with pytest.raises(InvalidInput):
        stable_bucket("a", 0)


def test_a_tenth_is_held_out_of_every_bucket() -> None:
    for bucket in range(4):
        held_out = [is_held_out(name) for name in IDS if stable_bucket(name, 4) == bucket]
        assert 0.07 < sum(held_out) / len(held_out) < 0.13


@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 99))))
def test_passage_ids_are_uuids_that_differ_when_the_inputs_do(
    pairs: list[tuple[str, int]],
) -> None:
    ids = {pair: passage_id(*pair) for pair in pairs}
    assert len(set(ids.values())) == len(ids)
    assert all(uuid.UUID(value).version == 5 for value in ids.values())


def test_an_ordinal_cannot_be_mistaken_for_a_part_of_the_id() -> None:
    assert passage_id("1:a", 1) != passage_id("a", 11)
    assert passage_id("a", 11) != passage_id("1a", 1)


@pytest.mark.parametrize(
    ("field", "request_id", "documents"),
    [
        ("documents", "", []),
        ("documents", "", [GOOD] * (MAX_WRITES + 1)),
        ("documents[1].id", "", [GOOD, Document(" ", "", "Text.")]),
        ("documents[0].text", "", [Document("a", "", " \n")]),
        ("documents[0].text", "", [Document("a", "", "\u200b\ufeff\u2060\u00ad")]),
        ("documents[1].text", "", [GOOD, Document("b", "", "x" * 101)]),
        ("request_id", "é" * 64 + "x", [GOOD]),
    ],
)
def test_an_upsert_beyond_the_limits_names_its_field(
    field: str, request_id: str, documents: list[Document]
) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_upsert(request_id, documents, max_bytes=100)
    assert refused.value.details["field"] == field


@pytest.mark.parametrize(
    ("field", "request_id", "ids"),
    [
        ("document_ids", "", []),
        ("document_ids", "", ["a"] * (MAX_WRITES + 1)),
        ("document_ids[1]", "", ["a", " "]),
        ("document_ids[0]", "", ["é" * (MAX_ID_BYTES // 2) + "x"]),
        ("request_id", "x" * 129, ["a"]),
    ],
)
def test_a_deletion_beyond_the_limits_names_its_field(
    field: str, request_id: str, ids: list[str]
) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_deletion(request_id, ids)
    assert refused.value.details["field"] == field


def test_what_is_just_within_the_limits_passes() -> None:
    check_upsert("é" * 64, [GOOD] * MAX_WRITES, max_bytes=5)
    check_deletion("", ["é" * (MAX_ID_BYTES // 2)] * MAX_WRITES)
