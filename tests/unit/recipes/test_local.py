"""The local index goes stale and is refreshed; the loop trains, refreshes and ends on time."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from realm.corpus.passages import Passage
from realm.errors import InvalidInput, NotReady
from realm.model.checkpoint import Model
from realm.model.frozen_encoder import encode
from realm.objectives.candidates import Asked
from realm.objectives.inverse_cloze import InverseCloze
from realm.objectives.masked_lm import MaskedLM
from realm.objectives.masking import SalientSpans
from realm.recipes.local import LocalIndex, Phase, Step, endless, train
from realm.retrieval import Retrieval
from realm.search.exact import top_k
from realm.text.salient_spans import RuleTagger
from realm.training.learner import Learner
from tests import tiny
from tests.tiny import LIMITS


@pytest.fixture
def passages(model: Model) -> list[Passage]:
    return tiny.passages(model.inputs, 20)


def questions(model: Model) -> list[Asked]:
    texts = [f"who founded the town number {n}?" for n in range(5)]
    return [Asked(text, model.inputs.query(text)) for text in texts]


def rows(index: LocalIndex, asked: list[Asked], limit: int) -> np.ndarray:
    """By vectors alone."""
    return np.array([found.rows for found in index.find(asked, limit, Retrieval.DENSE)])


def best(model: Model, passages: list[Passage], asked: list[Asked]) -> np.ndarray:
    pad = model.inputs.pad
    inputs = [model.inputs.passage(one.title_ids, one.body_ids) for one in passages]
    vectors = encode(model.retriever.passage, inputs, pad)
    inputs = [each.encoded for each in asked]
    return top_k(encode(model.retriever.query, inputs, pad), vectors, 4)[0]


def disturb(model: Model) -> None:
    """Moves the retriever, as training would."""
    with torch.no_grad():
        for parameter in model.retriever.passage.backbone.encoder.layer[-1].parameters():  # type: ignore[union-attr, index]
            parameter.add_(0.3 * torch.randn_like(parameter))


def cloze(model: Model) -> InverseCloze:
    return InverseCloze(
        model.inputs, batch_size=4, removal_share=0.9, passage_tokens=LIMITS.passage
    )


def test_search_is_exact_and_candidates_are_whole(model: Model, passages: list[Passage]) -> None:
    index = LocalIndex(model, passages)
    index.refresh()
    found = index.search(questions(model), 4, Retrieval.DENSE)
    expected = best(model, passages, questions(model))
    assert [[one.passage_id for one in each] for each in found] == [
        [passages[row].passage_id for row in best] for best in expected
    ]
    assert found[0][0].body_ids == passages[expected[0][0]].body_ids
    beam = index.beams(questions(model), 4)[0]
    ranked = index.search(questions(model), 4)[0]
    assert beam.passage_ids == [one.passage_id for one in ranked]
    assert beam.words.tolist() == [np.float32(one.words) for one in ranked]
    assert beam.vectors.shape == (4, model.config.embedding_size)
    assert index.of_document("town-3")[0].document_id == "town-3"
    assert index.of_document("no-town") == []


def test_nothing_is_found_before_the_first_refresh(model: Model, passages: list[Passage]) -> None:
    with pytest.raises(NotReady, match="refresh it first"):
        LocalIndex(model, passages).search(questions(model), 1)


def test_words_find_and_count(model: Model, passages: list[Passage]) -> None:
    index = LocalIndex(model, passages)
    index.refresh()
    asked = [Asked("people 107 live", model.inputs.query("people 107 live"))]
    (by_words,) = index.search(asked, 3, Retrieval.BM25)
    assert by_words[0].document_id == "town-7"
    assert by_words[0].words > by_words[1].words > 0
    with torch.no_grad():
        model.retriever.word_weight.fill_(1e6)
    index.refresh()
    assert index.search(asked, 1)[0][0].passage_id == by_words[0].passage_id


@pytest.mark.parametrize("encoder", ["index", "fresh"])
def test_a_stale_index_is_asked_by_its_own_encoder_or_the_newest(
    model: Model, passages: list[Passage], encoder: str
) -> None:
    torch.manual_seed(0)
    index = LocalIndex(model, passages, query_encoder=encoder)  # type: ignore[arg-type]
    index.refresh()
    before = rows(index, questions(model), 20)
    disturb(model)
    after = rows(index, questions(model), 20)
    assert np.array_equal(before, after) == (encoder == "index")
    index.refresh()
    assert np.array_equal(rows(index, questions(model), 4), best(model, passages, questions(model)))


def test_other_texts_are_read_at_once_and_encoded_at_the_refresh(
    model: Model, passages: list[Passage]
) -> None:
    index = LocalIndex(model, passages)
    index.refresh()
    ranked = rows(index, questions(model), 20)
    changed = [
        replace(one, text=other.text, body_ids=other.body_ids)
        for one, other in zip(passages, reversed(passages), strict=True)
    ]
    index.replace(changed)
    assert np.array_equal(rows(index, questions(model), 20), ranked)
    first = index.search(questions(model), 1, Retrieval.DENSE)[0][0]
    assert first.text == changed[ranked[0][0]].text
    index.refresh()
    expected = best(model, changed, questions(model))
    assert np.array_equal(rows(index, questions(model), 4), expected)
    with pytest.raises(InvalidInput, match="make another index"):
        index.replace(changed[:-1])


def test_a_step_changes_the_retriever_and_says_so(model: Model, passages: list[Passage]) -> None:
    before = {n: p.clone() for n, p in model.retriever.state_dict().items()}
    steps: list[Step] = []
    taken = train(
        Learner(model, tiny.settings()),
        Phase(cloze(model), 3),
        endless(passages, 0),
        on_step=steps.append,
    )
    assert taken == 3
    assert [(one.number, one.planned) for one in steps] == [(1, 3), (2, 3), (3, 3)]
    assert all(np.isfinite(one.figures["loss"]) for one in steps)
    assert any(not torch.equal(p, before[n]) for n, p in model.retriever.state_dict().items())


def test_the_index_is_refreshed_before_every_nth_step(
    model: Model, passages: list[Passage]
) -> None:
    refreshed: list[int] = []
    done = [0]

    class Watched(LocalIndex):
        def refresh(self, on_progress: object = None) -> None:
            refreshed.append(done[0])
            super().refresh()

    index = Watched(model, passages)
    masked = MaskedLM(
        model.inputs,
        SalientSpans(RuleTagger()),
        index,
        batch_size=2,
        candidates=3,
        passage_tokens=LIMITS.passage,
    )
    train(
        Learner(model, tiny.settings()),
        Phase(masked, 5, refresh_every=2),
        endless(passages, 0),
        index=index,
        on_step=lambda step: done.__setitem__(0, step.number),
    )
    assert refreshed == [0, 2, 4]


def test_no_time_left_means_no_step(model: Model, passages: list[Passage]) -> None:
    taken = train(
        Learner(model, tiny.settings()), Phase(cloze(model), 3), endless(passages, 0), seconds=0
    )
    assert taken == 0


def test_every_epoch_has_every_passage_in_an_order_of_its_own(passages: list[Passage]) -> None:
    drawn = [one.passage_id for one in itertools.islice(endless(passages, 7), 2 * len(passages))]
    first, second = drawn[: len(passages)], drawn[len(passages) :]
    assert sorted(first) == sorted(second) == sorted(one.passage_id for one in passages)
    assert first != second
    assert list(endless([], 7)) == []
