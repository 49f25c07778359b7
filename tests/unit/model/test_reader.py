from typing import Any

import pytest
import torch
from torch import Tensor

from realm.model.checkpoint import Model
from realm.model.encoders import collate
from realm.model.inputs import Encoded
from realm.model.reader import Reader, body_mask

TOKENS, WIDTH = 7, 3


@pytest.fixture
def reader(tiny_model: Model) -> Reader:
    return tiny_model.reader.eval()


def test_body_is_the_passage_without_its_closing_separator(tiny_model: Model) -> None:
    inputs = tiny_model.inputs
    rows = [inputs.reader([5, 6], [7, 8, 9]), inputs.reader([5], [7]), inputs.reader([5], [])]
    ids, segments, mask = collate(rows, inputs.pad)
    kept = [row[keep].tolist() for row, keep in zip(ids, body_mask(segments, mask), strict=True)]
    assert kept == [[7, 8, 9], [7], []]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_frozen_reader_reads_the_same_spans(reader: Reader, dtype: torch.dtype) -> None:
    rows = [
        Encoded([2, *[5] * n, 3, *[7, 8] * n, 3], [0] * (n + 2) + [1] * (2 * n + 1)) for n in (1, 9)
    ]
    before = reader(*collate(rows, 0))
    reader.freeze(dtype)
    assert all(each.is_meta for each in reader.backbone.parameters()), "one copy is enough"
    batch = collate(rows, 0, multiple=reader.pad_multiple)
    with torch.inference_mode(), torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        after = reader(*batch)
    tokens = before.logits.shape[1]
    assert torch.equal(after.valid[:, :tokens], before.valid)
    assert not after.valid[:, tokens:].any()
    close: dict[str, Any] = {"atol": 0.05, "rtol": 0.02} if dtype == torch.bfloat16 else {}
    scored = after.logits[:, :tokens].float()[before.valid]
    torch.testing.assert_close(scored, before.logits[before.valid], **close)
    torch.testing.assert_close(after.null.float(), before.null, **close)


def test_the_decoder_is_the_word_embedding_matrix(reader: Reader) -> None:
    words: Tensor = reader.backbone.embeddings.word_embeddings.weight  # type: ignore[union-attr, assignment]
    assert not any("decoder" in name for name, _ in reader.named_parameters())
    hidden = torch.randn(1, 3, 16)
    positions = torch.tensor([[1]])
    before = reader.masked_logits(hidden, positions)
    with torch.no_grad():
        words[7] *= 2
    changed = (reader.masked_logits(hidden, positions) != before)[0, 0]
    assert changed.nonzero().flatten().tolist() == [7]
