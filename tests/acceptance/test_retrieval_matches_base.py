"""At step 0 realm finds what sentence-transformers finds with the same published weights."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from realm.corpus.documents import Document
from realm.corpus.importers import read_documents
from realm.corpus.passages import Passage
from realm.evaluation.evaluate import document_ranks
from realm.evaluation.report import depth_for_documents, recall
from realm.evaluation.searching import (
    PassageVectors,
    encode_passages,
    encode_questions,
    split_documents,
)
from realm.evaluation.systems import System, base_system
from realm.model.base import default_folder
from realm.model.runtime import best_dtype
from realm.records.vectors import Vectors
from realm.settings import load_settings
from realm.text.questions import Question, read_questions

DATA = Path(__file__).parents[2].parent / "shared" / "data"
DOCUMENTS = [DATA / "squad_open" / "documents.jsonl", DATA / "wikitext" / "documents.jsonl"]
QUESTIONS = DATA / "squad_open" / "questions.dev.jsonl"
TOLERANCE = 0.005


@pytest.fixture
def all_cores() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(threads)


def theirs(passages: list[Passage], questions: list[str]) -> tuple[Vectors, Vectors]:
    """Vectors of the passages, as pairs of title and body, and of the questions."""
    library = pytest.importorskip("sentence_transformers")
    model = library.SentenceTransformer(str(default_folder()), device="cpu")
    model.max_seq_length = 288
    pairs = [(passage.title, passage.text) for passage in passages]
    return model.encode(pairs, batch_size=16), model.encode(questions, batch_size=16)


def ours(system: System, passages: list[Passage], questions: list[str]) -> tuple[Vectors, Vectors]:
    index = encode_passages(system, passages)
    return index.vectors, encode_questions(system, questions)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("all_cores")
def test_recall_at_5_is_that_of_sentence_transformers() -> None:
    missing = [path for path in [*DOCUMENTS, QUESTIONS] if not path.exists()]
    if missing:
        pytest.skip(f"shared data {missing[0].parent.name} is absent")
    pytest.importorskip("sentence_transformers")
    device = torch.device("cpu")
    system = base_system(load_settings(), device, best_dtype(device))
    read = read_documents(DOCUMENTS, max_bytes=8 << 20)
    passages = split_documents([one for one in read if isinstance(one, Document)], system.inputs)
    questions = read_questions(QUESTIONS)
    asked = [question.question for question in questions]
    found = {
        "realm": _recall_at_5(questions, passages, *ours(system, passages, asked)),
        "sentence-transformers": _recall_at_5(questions, passages, *theirs(passages, asked)),
    }
    logging.getLogger(__name__).info("recall@5 by document: %s", found)
    assert found["realm"] > 0.8, found
    assert abs(found["realm"] - found["sentence-transformers"]) <= TOLERANCE, found


def _recall_at_5(
    questions: list[Question], passages: list[Passage], vectors: Vectors, queries: Vectors
) -> float:
    index = PassageVectors(passages, np.asarray(vectors, np.float32))
    ids = [passage.document_id for passage in passages]
    rows, _ = index.search(np.asarray(queries, np.float32), depth_for_documents(ids, 5))
    measured = recall(document_ranks(questions, list(rows), ids), 5)
    assert measured is not None
    return measured
