import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from realm.model.base import Base, default_folder
from realm.model.checkpoint import Model, new_model
from realm.model.config import Pooling, Projection
from realm.model.encoders import Encoder, collate, plan_batches
from realm.model.frozen_encoder import encode
from realm.model.inputs import Encoded, InputBuilder
from realm.model.retriever import Retriever
from tests.unit.model.conftest import TINY

DOCUMENTS = Path(__file__).parents[3].parent / "shared" / "data" / "squad_open" / "documents.jsonl"

inputs_strategy = st.lists(
    st.lists(st.integers(5, 11), min_size=1, max_size=30).map(lambda x: Encoded(x, [0] * len(x))),
    min_size=1,
    max_size=12,
)


def tiny_encoder(**changes: object) -> Encoder:
    torch.manual_seed(1)
    return Encoder(dataclasses.replace(TINY, **changes)).eval()  # type: ignore[arg-type]


def real_passages(inputs: InputBuilder, count: int) -> tuple[list[list[str]], list[Encoded]]:
    if not DOCUMENTS.exists():
        pytest.skip("the squad_open documents are not here")
    with DOCUMENTS.open(encoding="utf-8") as lines:
        documents = [json.loads(next(lines)) for _ in range(count)]
    pairs = [[d["title"], d["text"]] for d in documents]
    return pairs, [inputs.passage(inputs.title_ids(t), inputs.tokenize(b)[0]) for t, b in pairs]


def cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(1) / lengths, dtype=np.float32)


def test_step_0_equals_sentence_transformers_on_real_pairs(minilm: Base) -> None:
    library = pytest.importorskip("sentence_transformers")
    reference = library.SentenceTransformer(str(default_folder()), device="cpu")
    reference.max_seq_length = 288
    projected = new_model(minilm, projection=Projection(384, layer_norm=False, identity_start=True))
    pairs, passages = real_passages(projected.inputs, 20)
    expected = reference.encode(pairs, show_progress_bar=False)
    vectors = encode(projected.retriever.passage, passages, projected.inputs.pad)
    assert cosines(vectors, expected).min() >= 0.99999
    questions = ["Who wrote it?", "What covers most of the Amazon basin of South America?"]
    query_vectors = encode(
        projected.retriever.query, [projected.inputs.query(q) for q in questions], 0
    )
    assert (
        cosines(query_vectors, reference.encode(questions, show_progress_bar=False)).min()
        >= 0.99999
    )


def test_an_identity_projection_changes_nothing_at_step_0(
    minilm_model: Model, minilm: Base
) -> None:
    projected = new_model(minilm, projection=Projection(384, layer_norm=False, identity_start=True))
    inputs = [minilm_model.inputs.query("Who wrote it?")]
    plain = encode(minilm_model.retriever.query, inputs, 0)
    np.testing.assert_allclose(encode(projected.retriever.query, inputs, 0), plain, atol=1e-6)


@given(inputs_strategy, st.integers(1, 200))
def test_vectors_do_not_depend_on_batch_neighbours_and_keep_the_input_order(
    inputs: list[Encoded], token_budget: int
) -> None:
    encoder = tiny_encoder()
    together = encode(encoder, inputs, 0, token_budget=token_budget)
    alone = np.concatenate([encode(encoder, [one], 0) for one in inputs])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_bfloat16_vectors_are_near_the_exact_ones(minilm_model: Model) -> None:
    encoder = minilm_model.retriever.passage
    _, passages = real_passages(minilm_model.inputs, 3)
    half = encode(encoder, passages, 0, dtype=torch.bfloat16)
    assert half.dtype == np.float32
    assert cosines(half, encode(encoder, passages, 0)).min() > 0.9995


@given(st.lists(st.integers(1, 288), max_size=60), st.integers(1, 2000))
def test_batches_hold_every_input_once_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = plan_batches(lengths, budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget
    widths = [max(lengths[i] for i in batch) for batch in batches]
    assert widths == sorted(widths, reverse=True)


@given(inputs_strategy, st.sampled_from([1, 8]))
def test_collate_pads_to_the_longest_rounded_up(inputs: list[Encoded], multiple: int) -> None:
    ids, segments, mask = collate(inputs, 0, multiple=multiple)
    longest = max(map(len, inputs))
    assert ids.shape == segments.shape == mask.shape
    assert ids.shape[1] % multiple == 0
    assert longest <= ids.shape[1] < longest + multiple
    assert mask.sum(1).tolist() == [len(one) for one in inputs]
    assert [row[keep].tolist() for row, keep in zip(ids, mask, strict=True)] == [
        one.ids for one in inputs
    ]
    assert not ids[~mask].any()


@pytest.mark.parametrize("pooling", ["mean", "cls", "pooler"])
def test_pooling_is_what_its_name_says(pooling: Pooling) -> None:
    encoder = tiny_encoder(pooling=pooling)
    batch = collate([Encoded([5, 6, 7, 8], [0, 0, 1, 1]), Encoded([5, 6], [0, 1])], 0)
    ids, segments, mask = batch
    hidden = encoder.backbone(ids, segments, mask)
    vectors = encoder(*batch)
    for row, length in enumerate((4, 2)):
        if pooling == "mean":
            expected = hidden[row, :length].mean(0)
        elif pooling == "cls":
            expected = hidden[row, 0]
        else:
            assert encoder.backbone.pooler is not None
            expected = torch.tanh(encoder.backbone.pooler.dense(hidden[row, 0]))
        torch.testing.assert_close(vectors[row], expected)


def test_score_is_the_scaled_inner_product_for_all_pairs_and_for_own_candidates() -> None:
    retriever = Retriever(dataclasses.replace(TINY, scale_init=20.0))
    queries, passages = torch.randn(3, 16), torch.randn(5, 16)
    expected = 20.0 * queries @ passages.T
    torch.testing.assert_close(retriever.score(queries, passages), expected)
    own = passages.expand(3, 5, 16)
    torch.testing.assert_close(retriever.score(queries, own), expected)
    words = torch.rand_like(expected)
    with torch.no_grad():
        retriever.word_weight.fill_(0.5)
    torch.testing.assert_close(retriever.score(queries, own, words), expected + 0.5 * words)


def test_shared_towers_are_one_and_separate_towers_learn_apart(minilm: Base) -> None:
    assert (shared := new_model(minilm).retriever).query is shared.passage
    retriever = new_model(minilm, shared_towers=False).retriever
    first = next(retriever.query.parameters())
    twin = next(retriever.passage.parameters())
    assert torch.equal(first, twin)
    with torch.no_grad():
        first.zero_()
    assert twin.any()
