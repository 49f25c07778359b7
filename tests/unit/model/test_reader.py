import pytest
import torch
from torch import Tensor

from realm.model.checkpoint import Model
from realm.model.encoders import collate
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
