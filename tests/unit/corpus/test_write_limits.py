from __future__ import annotations

import pytest

from realm.corpus.documents import MAX_ID_BYTES, MAX_WRITES, Document, check_deletion, check_upsert
from realm.errors import InvalidInput

GOOD = Document("a", "", "Text.")


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
