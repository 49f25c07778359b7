"""A whole evaluation of a tiny model: figures against those worked out by hand."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from realm.corpus.documents import Document
from realm.errors import InvalidInput
from realm.evaluation.evaluate import document_ranks, evaluate
from realm.evaluation.report import depth_for_documents
from realm.evaluation.searching import (
    PassageVectors,
    encode_passages,
    encode_questions,
    make_reading,
    read,
    rerank,
    split_documents,
)
from realm.evaluation.systems import System
from realm.model.config import AnswerRules
from realm.model.cross_encoder import load_cross_encoder, pair_text
from realm.model.relevance import Relevance
from realm.retrieval import Retrieval
from realm.search.exact import Found
from realm.text.questions import Question
from tests.unit.model.cross_encoders import write_cross_encoder

DOCUMENTS = [Document(f"d{number}", "t", f"pig {number} ran.") for number in range(30)]
QUESTIONS = [Question(f"what ran on day {n}?", (f"pig {n}",), None, f"d{n}") for n in range(6)]


def test_report_has_the_agreed_keys_and_shares(system: System) -> None:
    report = evaluate(system, DOCUMENTS, QUESTIONS, passages=3).to_json()
    assert list(report)[:6] == ["system", "documents", "answers", "em", "f1", "latency_ms"]
    assert list(report["documents"]) == list(report["answers"]) == ["r@1", "r@5", "r@20"]
    shares = [*report["documents"].values(), *report["answers"].values(), report["em"]]
    assert all(0 <= share <= 1 for share in [*shares, report["f1"]])
    assert 0 < report["latency_ms"]["p50"] <= report["latency_ms"]["p99"]
    assert report["questions"] == 6
    assert report["passages"] == 30
    assert json.loads(json.dumps(report)) == report


@pytest.mark.parametrize("reranked", [0, 4])
def test_what_each_part_of_a_question_costs_is_told(system: System, reranked: int) -> None:
    report = evaluate(replace(system, rerank=reranked), DOCUMENTS, QUESTIONS, passages=3)
    costs = report.extras["cpu_ms"]
    assert set(costs) == {"encode", "search", "read", *(["rerank"] if reranked else [])}
    assert all(cost >= 0 for cost in costs.values())
    assert costs["read"] > 0


@pytest.mark.parametrize("way", list(Retrieval))
def test_the_system_says_what_chooses_its_passages(system: System, way: Retrieval) -> None:
    documents = [Document(f"d{n}", "t", f"pig number{n} ran.") for n in range(30)]
    questions = [Question(f"number{n}", (f"number{n}",), None, f"d{n}") for n in range(6)]
    report = evaluate(replace(system, retrieval=way), documents, questions, passages=3)
    assert report.extras["retrieval"] == way
    # A random encoder knows no words.
    assert (report.documents["r@1"] == 1.0) == (way is not Retrieval.DENSE)


def test_what_words_do_not_find_is_a_miss(system: System) -> None:
    by_words = replace(system, retrieval=Retrieval.BM25)
    question = Question("elephants", ("pig 1",), None, "d1")
    report = evaluate(by_words, DOCUMENTS, [question], passages=3)
    assert report.documents["r@20"] == report.answers["r@20"] == report.em == 0.0


def test_what_questions_do_not_let_measure_is_absent(system: System) -> None:
    by_document = [Question("what ran?", document_id="d3")]
    report = evaluate(system, DOCUMENTS, by_document, passages=2)
    assert report.documents["r@20"] is not None
    assert report.answers == {"r@1": None, "r@5": None, "r@20": None}
    assert report.em is None
    assert report.f1 is None
    by_pattern = [Question("what ran?", answer_pattern=re.compile("pig"))]
    report = evaluate(system, DOCUMENTS, by_pattern, passages=2)
    assert report.documents["r@1"] is None
    assert report.answers["r@1"] == 1.0
    assert report.em is not None
    assert report.f1 is None


def test_fewer_passages_than_asked_for_are_no_fault(system: System) -> None:
    report = evaluate(system, DOCUMENTS[:1], QUESTIONS[:1], passages=5)
    assert report.documents["r@1"] == 1.0


def test_question_about_a_document_not_given_is_a_miss(system: System) -> None:
    report = evaluate(system, DOCUMENTS, [Question("q", document_id="elsewhere")], passages=1)
    assert report.documents["r@20"] == 0.0
    assert report.extras["unknown_documents"] == 1


def test_question_without_words_is_refused(system: System) -> None:
    with pytest.raises(InvalidInput, match="question is empty"):
        evaluate(system, DOCUMENTS, [Question("\u200b", ("x",))], passages=1)


def test_recall_is_by_document_not_by_passage(system: System) -> None:
    # Long document "a" fills the first ranks with its passages, "b" comes next.
    long = " ".join(f"line {number} of it." for number in range(60))
    passages = split_documents(
        [Document("a", "t", long), Document("b", "t", "short.")], system.inputs
    )
    assert len(passages) > 20
    of_a = np.array([passage.document_id == "a" for passage in passages])
    vectors = np.where(of_a[:, None], [[1.0, 0.0]], [[0.0, 1.0]]).astype(np.float32)
    index = PassageVectors(passages, vectors)
    query = np.array([[1.0, 0.5]], np.float32)
    ids = [passage.document_id for passage in passages]
    rows, _ = index.search(query, depth_for_documents(ids, 2))
    assert document_ranks([Question("?", document_id="b")], list(rows), ids) == [2]


def test_vectors_are_the_encoder_s_in_the_order_given(system: System) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        passages = split_documents(DOCUMENTS, system.inputs)
        index = encode_passages(system, passages)
        queries = encode_questions(system, [question.question for question in QUESTIONS])
    finally:
        torch.set_num_threads(threads)
    inputs = [system.inputs.passage(one.title_ids, one.body_ids) for one in passages]
    expected = system.passage.encode(inputs)
    np.testing.assert_allclose(index.vectors, expected, atol=1e-5)
    asked = [system.inputs.query(question.question) for question in QUESTIONS]
    np.testing.assert_allclose(queries, system.query.encode(asked), atol=1e-5)


def test_priors_are_the_softmax_of_relevance(system: System) -> None:
    passages = split_documents(DOCUMENTS[:3], system.inputs)
    index = PassageVectors(passages, np.zeros((3, 2), np.float32))
    products = np.array([0.3, 0.2, 0.1], np.float32)
    words = np.array([0.0, 4.0, 1.0], np.float32)
    found = Found(np.array([2, 0, 1]), products, words)
    system = replace(system, relevance=Relevance(20.0, 0.5))
    reading = make_reading(system, index, "q", found)
    assert reading.passages == (passages[2].text, passages[0].text, passages[1].text)
    weights = np.exp(20.0 * products.astype(np.float64) + 0.5 * words)
    np.testing.assert_allclose(np.exp(reading.log_priors), weights / weights.sum(), rtol=1e-9)


def test_a_cross_encoder_re_ranks_in_the_reader_s_place(system: System, tmp_path: Path) -> None:
    crossing = load_cross_encoder(write_cross_encoder(tmp_path / "x"), weight=2.0)
    passages = split_documents(DOCUMENTS, system.inputs)
    index = PassageVectors(passages, np.zeros((len(passages), 2), np.float32))
    falling = -np.arange(6, dtype=np.float32) / np.float32(1000)
    found = Found(np.arange(6), falling, np.zeros(6, np.float32))
    ranking = replace(system, rerank=4, cross_encoder=crossing)
    (ranked,) = rerank(ranking, index, ["what ran?"], [found])
    pairs = [("what ran?", pair_text(one.title, one.text)) for one in passages[:4]]
    scores = system.relevance.scale * falling[:4] + 2.0 * np.array(crossing.scores(pairs))
    assert ranked.rows.tolist() == [*np.argsort(-scores, kind="stable"), 4, 5]
    assert ranked.rows.tolist() != list(range(6))


def test_the_reader_re_ranks_as_many_as_it_is_told_to(system: System) -> None:
    """A text that the reader would rather answer from comes first; those not read stay behind."""
    passages = split_documents(DOCUMENTS, system.inputs)
    index = PassageVectors(passages, np.zeros((len(passages), 2), np.float32))
    falling = -np.arange(6, dtype=np.float32) / np.float32(1000)
    (found,) = [Found(np.arange(6), falling, np.zeros(6, np.float32))]
    for rerank_, weight in ((4, 0.0), (4, 50.0), (6, 50.0)):
        system.reader.answers = AnswerRules(evidence=weight)
        ranking = replace(system, rerank=rerank_)
        (ranked,) = rerank(ranking, index, ["what ran?"], [found])
        (read_,) = read(system, [make_reading(system, index, "what ran?", found.best(rerank_))])
        scores = 20.0 * falling[:rerank_] + weight * np.array(read_.evidence)
        expected = [*np.argsort(-scores, kind="stable"), *range(rerank_, 6)]
        assert ranked.rows.tolist() == expected
        assert ranked.products.tolist() == [falling[row] for row in expected]
        assert (expected == list(range(6))) == (weight == 0.0)
