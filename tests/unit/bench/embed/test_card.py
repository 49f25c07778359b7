"""The bench of a GPU, as far as it needs none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.embed import card
from bench.embed.sides import Text, Turn, exact, least_cosine
from realm.model.base import default_folder
from realm.model.checkpoint import Model, new_model
from realm.model.config import BertShape
from realm.model.frozen_encoder import FrozenEncoder

THEIRS = "sentence-transformers, 512 at once, tokenized"
TEXTS = [
    Text("Amazon", "The rainforest covers most of the Amazon basin of South America. " * 20),
    Text("Oxygen", "Oxygen is the chemical element with the symbol O. " * 20),
    Text("", "One."),
]


def turns(*seconds: float) -> list[Turn]:
    return [Turn(each, each) for each in seconds]


GOOD = card.Observed(
    card="a card",
    passages=1000,
    tokens={card.FULL: 288_000, card.NATURAL: 170_000},
    work={card.FULL: 5e13, card.NATURAL: 3e13},
    rate=5e14,
    turns={
        card.FULL: {card.OURS: turns(0.15, 0.3, 0.15), THEIRS: turns(0.3, 0.3, 0.3)},
        card.NATURAL: {card.OURS: turns(0.1, 0.1, 0.1), THEIRS: turns(0.2, 0.2, 0.2)},
    },
    cosines={card.OURS: 0.9995, THEIRS: 0.999},
    beside_mean={card.OURS: 0.998, THEIRS: 0.997},
    memory=1 << 30,
    source="here",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("card") / "bert-base"
    return new_model(card.bert_base_folder(folder, default_folder(), 0), starter=False)


def failing(observed: card.Observed) -> list[str]:
    return [each.claim for each in card.judge(observed).claims if not each.holds]


def test_the_model_has_the_shape_of_bert_base(model: Model) -> None:
    assert model.config.base == BertShape()
    assert model.config.embedding_size == 768


def test_one_workload_fills_every_input_and_the_other_has_its_own_lengths(model: Model) -> None:
    full = card.workload(model, card.longer_than_any_input(TEXTS), 7)
    natural = card.workload(model, TEXTS, 7)
    assert {len(one) for one in full.inputs} == {288}
    assert len(natural.inputs) == 7
    assert len(natural.inputs[2]) == 5  # [CLS] [SEP] one . [SEP]
    assert natural.inputs[3] == natural.inputs[0]


def test_vectors_are_compared_with_those_of_the_encoder_that_learns(model: Model) -> None:
    given = card.workload(model, TEXTS, 3)
    made = FrozenEncoder(model.retriever.passage.eval(), model.inputs.pad).encode(given.inputs)
    assert least_cosine(made, exact(model, given.inputs)) > 0.99999


def test_what_all_rows_share_makes_no_row_right() -> None:
    shared = np.full((2, 3), 100.0, np.float32)
    expected = shared + np.eye(2, 3, dtype=np.float32)
    swapped = expected[::-1].copy()
    assert least_cosine(swapped, expected) > 0.999
    assert least_cosine(*card.beside_mean(swapped, expected)) < 0


def test_a_fast_card_keeps_all_claims() -> None:
    assert failing(GOOD) == []
    figures = card.judge(GOOD).figures
    assert figures["share_of_matrix_rate"] == {card.FULL: 0.667, card.NATURAL: 0.6}
    assert figures["passages_a_second"][card.NATURAL] == {card.OURS: 10_000, THEIRS: 5_000}


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({"cosines": {card.OURS: 0.99}}, "least cosine of a vector with that in float32"),
        ({"rate": 8e14}, f"share of the card's rate of a square product, {card.FULL}"),
        (
            {"turns": {**GOOD.turns, card.FULL: {card.OURS: turns(0.15), THEIRS: turns(0.1)}}},
            f"times the best of the others, {THEIRS}",
        ),
    ],
)
def test_each_claim_can_fail(change: dict[str, object], broken: str) -> None:
    assert failing(replace(GOOD, **change)) == [broken]  # type: ignore[arg-type]


def test_without_the_library_it_is_compared_with_the_card_alone() -> None:
    alone = {name: {card.OURS: own[card.OURS]} for name, own in GOOD.turns.items()}
    assert len(card.judge(replace(GOOD, turns=alone)).claims) == 2
