from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.corpus.documents import is_held_out
from realm.errors import InvalidInput
from realm.model.relevance import DENSE_ONLY
from realm.search.queries import QueryMaker
from realm.text.questions import Question
from services.indexer.gate.comparison import sign_test
from services.indexer.gate.content import ExpectedContent
from services.indexer.gate.probes import (
    SCHEMA,
    Probes,
    alike,
    choose_questions,
    compare,
    make_questions,
    mean_reciprocal_rank,
    place,
    read_given,
    recall_at,
)
from tests.unit.indexer.examples import generation

places = st.none() | st.integers(1, 10)


def passages(numbers: range) -> pa.Table:
    text = "The first sentence has quite enough words. The second one has enough of them too."
    schema = pa.schema(
        [(name, pa.string()) for name in ("passage_id", "document_id", "title", "text")]
    )
    return pa.Table.from_pylist(
        [
            {
                "passage_id": f"p{n}",
                "document_id": f"d{n}",
                "title": f"About {n}",
                "text": f"{text} Number {n} is here.",
            }
            for n in numbers
        ],
        schema=schema,
    )


def test_questions_come_from_held_out_documents_only() -> None:
    questions = make_questions([passages(range(300))], 1000)
    asked = set(questions["document_id"].to_pylist())
    assert asked == {f"d{n}" for n in range(300) if is_held_out(f"d{n}")}
    texts = {row["passage_id"]: row["text"] for row in passages(range(300)).to_pylist()}
    for row in questions.to_pylist():
        assert row["question"] in texts[row["passage_id"]]


def test_a_made_question_comes_with_its_passage_without_it() -> None:
    texts = {row["passage_id"]: row["text"] for row in passages(range(300)).to_pylist()}
    questions = make_questions([passages(range(300))], 1000)
    assert questions.num_rows
    for row in questions.to_pylist():
        assert row["question"] not in row["passage"]
        assert row["title"] == f"About {row['passage_id'][1:]}"
        left = texts[row["passage_id"]].replace(row["question"], "").split()
        assert row["passage"].split() == left


def made_probes(shortened: list[list[float]] | None) -> Probes:
    """One question, about p0 of d0; p0 in the collection is its very words."""
    row = {"question": "q", "document_id": "d0", "passage_id": "p0", "passage": "the rest"}
    passages = None if shortened is None else np.array(shortened, np.float32)
    table = pa.Table.from_pylist([row], schema=SCHEMA)
    return Probes(table, np.array([[1, 0]], np.float32), passages)


VECTORS_ALONE = QueryMaker(DENSE_ONLY, None)


def own_scores(probes: Probes) -> list[float | None]:
    return probes.own_scores(VECTORS_ALONE, probes.queries(VECTORS_ALONE))


def content() -> ExpectedContent:
    made = ExpectedContent()
    made.put("p0", "d0", 1, np.array([1, 0], np.float32))
    for number in range(1, 20):
        made.put(f"p{number}", f"d{number}", 1, np.array([number / 40, 1], np.float32))
    return made


@pytest.mark.parametrize("by", ["passage_id", "document_id"])
@pytest.mark.parametrize(
    ("shortened", "expected"),
    [(None, 1), ([[0.9, 1]], 1), ([[0.46, 1]], 2), ([[0.26, 1]], 10), ([[0.24, 1]], None)],
)
def test_a_passage_is_looked_for_without_the_sentence_that_asks_for_it(
    by: str, shortened: list[list[float]] | None, expected: int | None
) -> None:
    held = content()
    there = set(held.documents.values())
    assert held.ranks(VECTORS_ALONE, made_probes(shortened), by, there) == [expected]


@given(
    scores=st.lists(st.integers(0, 9), max_size=30),
    target=st.integers(0, 29),
    own=st.none() | st.integers(0, 9),
)
def test_a_place_is_that_among_all_once_the_target_has_its_own_score(
    scores: list[int], target: int, own: int | None
) -> None:
    order = sorted(range(len(scores)), key=lambda each: -scores[each])
    found = order[:11]
    at = place([str(n) for n in found], [scores[n] for n in found], str(target), own)
    if own is None:
        expected = found.index(target) + 1 if target in found else 11
    else:
        others = [s for n, s in enumerate(scores) if n != target]
        expected = 1 + sum(score > own for score in others)
    assert at == (expected if expected <= 10 else None)


def test_what_an_older_embedder_encoded_is_compared_as_it_was() -> None:
    one, other = alike(made_probes([[0.0, 1.0]]), made_probes(None))
    assert (own_scores(one), own_scores(other)) == ([None], [None])
    both = alike(made_probes([[0.5, 1.0]]), made_probes([[0.25, 1.0]]))
    assert [own_scores(each) for each in both] == [[0.5], [0.25]]


def test_questions_do_not_depend_on_shards_and_hardly_on_the_corpus() -> None:
    whole = make_questions([passages(range(400))], 20)
    assert whole.equals(make_questions([passages(range(250, 400)), passages(range(250))], 20))
    grown = make_questions([passages(range(440))], 20)
    shared = set(whole["passage_id"].to_pylist()) & set(grown["passage_id"].to_pylist())
    assert len(shared) >= 15


def test_no_held_out_document_means_no_question() -> None:
    assert make_questions([passages(range(0))], 20).num_rows == 0


def test_sign_test_is_exact() -> None:
    assert sign_test(0, 0) == 1.0
    assert sign_test(5, 0) == pytest.approx(1 / 32)
    assert sign_test(8, 2) == pytest.approx((45 + 10 + 1) / 1024)
    assert sign_test(900, 100) < 1e-100


@given(losses=st.integers(0, 60), wins=st.integers(0, 60))
def test_sign_test_is_a_probability_and_its_sides_overlap_in_one_point(
    losses: int, wins: int
) -> None:
    both = sign_test(losses, wins) + sign_test(wins, losses)
    same = math.comb(losses + wins, losses) / 2 ** (losses + wins)
    assert both == pytest.approx(1 + same)


@given(st.lists(st.tuples(places, places), max_size=50))
def test_comparison_is_antisymmetric(pairs: list[tuple[int | None, int | None]]) -> None:
    mine, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    fall = compare(mine, theirs).fall
    assert fall == pytest.approx(recall_at(theirs, 5) - recall_at(mine, 5))
    assert compare(theirs, mine).fall == pytest.approx(-fall)
    assert not compare(mine, mine).refused(0.0)


def test_only_a_large_and_significant_fall_is_refused() -> None:
    assert compare([None] * 10 + [1] * 90, [1] * 100).refused(0.02)
    assert not compare([None] * 10 + [1] * 90, [1] * 100).refused(0.2)
    few = compare([None] * 4, [1] * 4)
    assert few.fall == 1.0
    assert not few.refused(0.02), "four of four may be chance"


def test_figures_of_ranks() -> None:
    assert recall_at([1, 5, 6, None], 5) == 0.5
    assert mean_reciprocal_rank([1, 4, None]) == pytest.approx(1.25 / 3)
    assert recall_at([], 5) == 0.0


def test_given_questions_are_asked_if_their_document_is_there(tmp_path: Path) -> None:
    file = tmp_path / "probes.jsonl"
    lines = [{"question": f" who {n}?", "document_id": f"d{n}", "more": 1} for n in range(290, 310)]
    file.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    given = read_given(file)
    assert given[0] == Question("who 290?", document_id="d290")
    chosen = choose_questions([passages(range(200)), passages(range(200, 300))], 1000, given)
    assert set(chosen["document_id"].to_pylist()) == {f"d{n}" for n in range(290, 300)}
    assert choose_questions([passages(range(300))], 4, given).num_rows == 4
    elsewhere = choose_questions([passages(range(100))], 1000, given)
    assert elsewhere.equals(make_questions([passages(range(100))], 1000))


def test_recorded_questions_are_asked_first_and_the_rest_is_made() -> None:
    tables = [passages(range(300))]
    made = make_questions(tables, 1000)
    asked = [Question(f"who {n}?", document_id=f"d{n}") for n in (*range(295, 305), 295)]
    chosen = choose_questions(tables, 1000, recorded=asked)
    assert Counter(chosen["source"].to_pylist()) == {"recorded": 5, "held-out": made.num_rows}
    assert set(chosen["document_id"].to_pylist()[:5]) == {f"d{n}" for n in range(295, 300)}
    assert chosen.slice(5).equals(made)
    few = choose_questions(tables, 4, recorded=asked)
    assert few["source"].to_pylist() == ["recorded"] * 4
    of_a_file = choose_questions(tables, 9, asked[:2], asked)
    assert of_a_file["source"].to_pylist() == ["file"] * 2
    none_there = choose_questions([passages(range(100))], 1000, recorded=asked)
    assert none_there.equals(make_questions([passages(range(100))], 1000))


@pytest.mark.parametrize(
    "line",
    [
        "nothing",
        '{"question": "who?"}',
        "[]",
        '{"question": "who?", "document_id": "d", "answers": "Eve"}',
    ],
)
def test_an_unusable_probe_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "probes.jsonl"
    file.write_text(f'{{"question": "who?", "document_id": "d"}}\n{line}\n')
    with pytest.raises(InvalidInput, match=r"probes\.jsonl:2"):
        read_given(file)


def test_missing_probes_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_given(tmp_path / "none.jsonl")


def test_passages_are_compared_only_where_both_are_cut_alike() -> None:
    table = pa.Table.from_pylist(
        [{"question": "q", "document_id": "d", "passage_id": "p"}], schema=SCHEMA
    )
    one = Probes(table, np.zeros((1, 2), np.float32))
    mine, other = generation(1), replace(generation(2), fingerprint="g")
    assert one.by(mine, None) == one.by(mine, mine) == "passage_id"
    assert one.by(mine, other) == "document_id"
    unnamed = Probes(
        pa.Table.from_pylist(
            [{"question": "q", "document_id": "d", "passage_id": ""}], schema=SCHEMA
        ),
        one.vectors,
    )
    assert unnamed.by(mine, mine) == "document_id"
    assert (len(one.about({"d"})), len(one.about({"e"}))) == (1, 0)
