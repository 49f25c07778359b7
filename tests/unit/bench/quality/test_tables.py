"""The tables of docs/quality.md: kept as they are, and what their figures mean."""

from __future__ import annotations

import json

from bench.quality.corpora import CORPORA, corpus, kept_out
from bench.quality.retrieval import gain
from bench.quality.tables import Table
from realm.corpus.documents import Document
from realm.text.questions import Question


def test_a_table_is_read_as_it_was_written() -> None:
    made = Table("12 questions", ("R@1", "gain"), {"dense": (0.5, ""), "hybrid": (0.75, "+0.250")})
    assert Table.from_json(json.loads(json.dumps(made.to_json()))) == made
    assert made.cell("hybrid", "R@1") == 0.75
    assert made.cell("bm25", "R@1") is None
    assert made.markdown().splitlines()[-1] == "| hybrid | 0.750 | +0.250 |"


def test_a_gain_is_of_the_same_questions_and_its_interval_holds_it() -> None:
    own, against = [1, 1, 3, None] * 50, [1, 2, 1, 4] * 50
    assert gain(own, against, 1).startswith("+0.000 (-")
    assert gain([1] * 200, [2] * 200, 1) == "+1.000 (+1.000 to +1.000)"
    assert gain(own, against, 5).startswith("-0.250 (")


def test_articles_are_kept_out_as_a_whole() -> None:
    documents = [Document(f"{n}", f"Article {n % 40}", "text") for n in range(400)]
    asked = [Question("what?", document_id=one.id) for one in documents]
    kept = kept_out(asked, documents)
    titles = {documents[int(one.document_id or "")].title for one in kept}
    assert 0 < len(titles) < 20
    assert len(kept) == 10 * len(titles)


def test_every_question_of_ours_names_a_document_that_is_there() -> None:
    for name in ("python", "own_docs", "faq_rewordings", "faq_paraphrases"):
        made = corpus(name)
        there = {one.id for one in made.documents}
        assert len(made.questions) >= 40
        assert all(there & {*one.document_ids} for one in made.questions), name
        few = made.first(3)
        named = {one for asked in few.questions for one in asked.document_ids}
        assert {one.id for one in few.documents} == named & there
    assert {"python", "own_docs"} <= CORPORA.keys()
