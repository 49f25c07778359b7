"""Inverse cloze: what a batch is made of, and that learning from it works."""

from __future__ import annotations

import dataclasses
import random
from itertools import cycle
from pathlib import Path

import pytest
import torch

from realm.corpus.documents import is_held_out
from realm.corpus.passages import Passage
from realm.errors import NotReady
from realm.model.checkpoint import Model
from realm.model.likelihood import inverse_cloze_loss
from realm.objectives.inverse_cloze import InverseCloze, false_negatives
from tests import tiny


def make(model: Model, batch_size: int = 4, removal: float = 0.9, tokens: int = 96) -> InverseCloze:
    return InverseCloze(
        model.inputs, batch_size=batch_size, removal_share=removal, passage_tokens=tokens
    )


@pytest.mark.parametrize("removal", [0.0, 1.0])
def test_positive_lacks_its_sentence_where_it_is_removed(
    model: Model, corpus: list[Passage], removal: float
) -> None:
    batch = make(model, removal=removal).batch(cycle(corpus), random.Random(1))
    for query, passage in zip(batch.queries, batch.passages, strict=True):
        assert _contains(passage.ids, query.ids[1:-1]) == (removal == 0.0)


def test_removal_happens_in_the_share_asked_for(model: Model, corpus: list[Passage]) -> None:
    objective = make(model, batch_size=32, removal=0.75)
    rng, stream, kept = random.Random(2), cycle(corpus), 0
    for _ in range(10):
        batch = objective.batch(stream, rng)
        pairs = zip(batch.queries, batch.passages, strict=True)
        kept += sum(_contains(passage.ids, query.ids[1:-1]) for query, passage in pairs)
    assert 0.15 < kept / 320 < 0.35


def test_held_out_documents_are_neither_query_nor_positive(
    model: Model, corpus: list[Passage]
) -> None:
    held_out = [p for p in corpus if is_held_out(p.document_id)]
    assert held_out, "the corpus must have held-out documents for this test to mean anything"
    objective = make(model, removal=0.0)
    batch = objective.batch(cycle(held_out + corpus), random.Random(0))
    bodies = [tuple(p.body_ids) for p in held_out]
    assert not any(_contains(e.ids, list(body)) for e in batch.passages for body in bodies)
    assert objective.skipped["held_out"] == len(held_out)


def test_a_corpus_of_held_out_documents_alone_is_refused(
    model: Model, corpus: list[Passage]
) -> None:
    held_out = [p for p in corpus if is_held_out(p.document_id)]
    with pytest.raises(NotReady, match="too few passages"):
        make(model).batch(cycle(held_out), random.Random(0))


def test_passages_are_cut_to_the_training_length(model: Model, corpus: list[Passage]) -> None:
    batch = make(model, tokens=32).batch(cycle(corpus), random.Random(0))
    assert {len(passage) for passage in batch.passages} == {32}
    assert all(passage.ids[-1] == model.inputs.sep for passage in batch.passages)


def test_false_negatives_are_same_document_same_text_same_sentence(corpus: list[Passage]) -> None:
    own = corpus[0]
    sibling = dataclasses.replace(corpus[1], document_id=own.document_id)
    copy = dataclasses.replace(own, document_id="a copy", passage_id="a copy")
    quoting = dataclasses.replace(corpus[2], text=f"Once more: {own.text.upper()}")
    other = corpus[3]
    sentence = own.text.split(". ")[0]
    others = ["nothing that occurs anywhere"] * 4
    exclude = false_negatives([own, sibling, copy, quoting, other], [sentence, *others])
    assert exclude[0].tolist() == [False, True, True, True, False]
    assert not exclude.diagonal().any()


def test_loss_is_the_contrast_of_scaled_scores(model: Model, corpus: list[Passage]) -> None:
    objective = make(model)
    batch = objective.batch(cycle(corpus), random.Random(3))
    model.retriever.eval()
    loss = objective.loss(batch, model)
    from realm.objectives.objective import tensors

    device = torch.device("cpu")
    queries = model.retriever.query(*tensors(batch.queries, model.inputs.pad, device))
    passages = model.retriever.passage(*tensors(batch.passages, model.inputs.pad, device))
    scores = model.retriever.scale * queries @ passages.T
    torch.testing.assert_close(loss.value, inverse_cloze_loss(scores, batch.exclude))
    assert loss.figures["loss"] == pytest.approx(loss.value.item())


def test_learning_lowers_the_loss(tmp_path: Path) -> None:
    model = tiny.make_model(tiny.write_base(tmp_path))
    corpus = tiny.passages(model.inputs)
    objective = make(model, batch_size=8, removal=0.0)
    model.retriever.eval()
    batch = objective.batch(cycle(corpus), random.Random(5))
    optimizer = torch.optim.AdamW(model.retriever.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        loss = objective.loss(batch, model)
        optimizer.zero_grad()
        loss.value.backward()
        optimizer.step()
        losses.append(loss.figures["loss"])
    assert losses[-1] < 0.8 * losses[0]


def _contains(ids: list[int], part: list[int]) -> bool:
    return any(ids[i : i + len(part)] == part for i in range(len(ids) - len(part) + 1))
