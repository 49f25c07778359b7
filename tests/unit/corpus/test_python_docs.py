"""The default corpus is large enough, meaningful, the same each time, and made without imports."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter

import pytest

from realm.corpus.documents import Document, check_document
from realm.corpus.passages import split_document
from realm.corpus.python_docs import python_documents
from realm.model.inputs import InputBuilder


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return list(python_documents())


def test_it_makes_two_to_four_thousand_passages(
    documents: list[Document], inputs: InputBuilder
) -> None:
    passages = [one for document in documents for one in split_document(document, 1, inputs)]
    assert 2_000 <= len(passages) <= 4_000


def test_every_document_is_sound_and_says_something(documents: list[Document]) -> None:
    ids = [document.id for document in documents]
    assert ids == sorted(set(ids))
    for document in documents:
        assert check_document(document, max_bytes=200_000).title
        assert len(document.text) >= 80


def test_all_kinds_are_there(documents: list[Document]) -> None:
    kinds = Counter(document.metadata["kind"] for document in documents)
    assert kinds["topic"] > 50
    assert kinds["module"] > 100
    assert min(kinds["class"], kinds["function"]) > 300


def test_what_people_ask_for_can_be_found(documents: list[Document]) -> None:
    by_id = {document.id: document for document in documents}
    assert by_id["python/json/JSONEncoder.default"].title == "json.JSONEncoder.default"
    assert "generator" in by_id["python/topics/yield"].text
    assert "isclose(a, b" in by_id["python/math/isclose"].text
    assert "lowercase" in by_id["python/builtins/str"].text
    assert "JavaScript Object Notation" in by_id["python/json"].text


def test_another_process_makes_the_same_without_importing_the_library(
    documents: list[Document],
) -> None:
    script = (
        "import sys, hashlib; from realm.corpus.python_docs import python_documents\n"
        "text = repr(list(python_documents())).encode()\n"
        "print(hashlib.sha256(text).hexdigest(), 'turtle' in sys.modules, 'torch' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )

    expected = hashlib.sha256(repr(documents).encode()).hexdigest()
    assert out.stdout.split() == [expected, "False", "False"]
