"""Masks hide whole words, never a special token, and every hidden piece is a target."""

from __future__ import annotations

import random
from collections import Counter
from itertools import cycle, pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.model.checkpoint import Model
from realm.model.inputs import InputBuilder, InputLimits
from realm.objectives.masked_lm import MaskedBatch, MaskedLM
from realm.objectives.masking import (
    LONGEST_SPAN,
    Masker,
    MaskKind,
    continuation_ids,
    mask_chooser,
    random_span,
    random_words,
    whole_words,
)
from realm.text.salient_spans import RuleTagger
from tests import tiny
from tests.unit.objectives.searches import ExactSearch

KINDS: tuple[MaskKind, ...] = ("salient_spans", "random_spans", "random_words")
LETTERS = st.text("abcdefghijXYZ019", min_size=1, max_size=6)
TEXTS = st.lists(
    LETTERS | st.sampled_from([",", ".", "1987", "Paris", "中", "(", "don't", "[MASK]", "é"]),
    max_size=40,
).map(" ".join)


@pytest.fixture(scope="module")
def short(model: Model) -> InputBuilder:
    """Queries that cut many sentences off."""
    return InputBuilder(model.inputs.tokenizer, InputLimits(query=24))


@settings(max_examples=150, deadline=None)
@given(text=TEXTS, kind=st.sampled_from(KINDS), seed=st.integers(0, 99))
def test_masks_are_whole_words_and_all_of_them_are_targets(
    short: InputBuilder, text: str, kind: MaskKind, seed: int
) -> None:
    skipped: Counter[str] = Counter()
    masker = Masker(short, mask_chooser(kind, RuleTagger()), skipped)
    made = masker.mask("p", text, random.Random(seed))
    if made is None:
        assert skipped.total() == 1
        return
    ids, offsets = short.tokenize(text)
    # What is hidden is a target, what is a target is hidden, and nothing else has changed.
    assert made.positions == sorted(set(made.positions))
    assert [ids[place] for place in made.positions] == made.targets
    hidden = set(made.positions)
    for place, piece in enumerate(made.ids):
        assert piece == (short.mask if place in hidden else ids[place])
    # Whole words.
    for word in whole_words(ids, offsets, continuation_ids(short)):
        assert len(hidden & set(range(word.first, word.last))) in (0, word.last - word.first)
    # In the query as in the reader's input the mask tokens are exactly those of the targets.
    for encoded in (short.query_from_ids(made.ids), short.reader(made.ids, [])):
        assert encoded.ids[0] == short.cls
        assert short.sep in encoded.ids
        places = [place - 1 for place, piece in enumerate(encoded.ids) if piece == short.mask]
        assert places == made.positions


@settings(max_examples=100, deadline=None)
@given(text=TEXTS)
def test_words_are_all_pieces_in_order_and_cut_no_word(short: InputBuilder, text: str) -> None:
    ids, offsets = short.tokenize(text)
    words = whole_words(ids, offsets, continuation_ids(short))
    assert [place for word in words for place in range(word.first, word.last)] == list(
        range(len(ids))
    )
    for left, right in pairwise(words):
        assert left.end <= right.start
        assert ids[right.first] not in continuation_ids(short)


@settings(max_examples=60, deadline=None)
@given(text=TEXTS, seed=st.integers(0, 99))
def test_random_spans_are_runs_and_no_longer_than_they_may_be(
    short: InputBuilder, text: str, seed: int
) -> None:
    ids, offsets = short.tokenize(text)
    words = whole_words(ids, offsets, continuation_ids(short))
    chosen = random_span(text, words, random.Random(seed))
    assert len(chosen) <= LONGEST_SPAN
    if chosen:
        first = words.index(chosen[0])
        assert chosen == words[first : first + len(chosen)]
        assert any(letter.isalnum() for letter in text[chosen[0].start : chosen[0].end])


def test_random_spans_have_spanberts_mean_length(model: Model) -> None:
    text = "the river of the town " * 10
    ids, offsets = model.inputs.tokenize(text)
    words = whole_words(ids, offsets, continuation_ids(model.inputs))
    rng = random.Random(0)
    lengths = []
    for _ in range(3000):
        chosen = random_span(text, words, rng)
        if chosen[0].last <= 40:  # far from the end, which cuts spans off
            lengths.append(len(chosen))
    # Geo(0.2) clipped at 10: the sum of 0.8^i for i below 10.
    assert sum(lengths) / len(lengths) == pytest.approx(4.46, abs=0.2)


def test_random_words_are_15_percent_and_scattered(model: Model) -> None:
    text = "the river of the town " * 8
    ids, offsets = model.inputs.tokenize(text)
    words = whole_words(ids, offsets, continuation_ids(model.inputs))
    rng = random.Random(0)
    drawn = [random_words(text, words, rng) for _ in range(500)]
    assert sum(map(len, drawn)) / (500 * len(words)) == pytest.approx(0.15, abs=0.01)
    assert all(drawn)
    runs = [len(one) > 1 and one[-1].last - one[0].first == len(one) for one in drawn]
    assert sum(runs) < 25


def test_nothing_to_hide_is_counted(model: Model) -> None:
    cases: tuple[tuple[MaskKind, str, str], ...] = (
        ("salient_spans", "they all went home after that", "no_salient_span"),
        ("salient_spans", "so " * 70 + "it ended in 1987.", "span_beyond_query"),
        ("random_spans", ", . ; :", "no_word"),
        ("random_words", "the river", "too_little_context"),
    )
    for kind, text, reason in cases:
        skipped: Counter[str] = Counter()
        chooser = mask_chooser(kind, RuleTagger())
        assert Masker(model.inputs, chooser, skipped).mask("p", text, random.Random(0)) is None
        assert skipped == {reason: 1}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_mask_trains_the_same_objective(model: Model, kind: MaskKind) -> None:
    corpus = tiny.passages(model.inputs)
    objective = MaskedLM(
        model.inputs,
        mask_chooser(kind, RuleTagger()),
        ExactSearch(model, corpus),
        batch_size=3,
        candidates=4,
        passage_tokens=96,
    )
    batch = objective.batch(cycle(corpus), random.Random(1))
    loss = objective.loss(batch, model)
    assert torch.isfinite(loss.value)
    loss.value.backward()
    assert len(batch.sentences) == 3


def test_scattered_words_are_no_answer_that_a_passage_could_hold(model: Model) -> None:
    """The same pieces side by side in a passage are another thing than what was hidden."""
    corpus = tiny.passages(model.inputs)
    objective = MaskedLM(
        model.inputs,
        mask_chooser("random_words", RuleTagger()),
        ExactSearch(model, corpus),
        batch_size=12,
        candidates=4,
        passage_tokens=96,
    )
    batch = objective.batch(cycle(corpus), random.Random(2))
    scattered = [
        (sentence, row)
        for sentence, row in zip(batch.sentences, batch.candidates, strict=True)
        if not sentence.is_span
    ]
    assert scattered
    sentences = [sentence for sentence, _ in scattered]
    for sentence, row in scattered:
        for candidate in row:
            candidate.body_ids[: len(sentence.targets)] = sentence.targets
    with torch.no_grad():
        figures = objective.loss(MaskedBatch(sentences, [row for _, row in scattered]), model)
    assert figures.figures["span_matched"] == 0
