import pytest
import torch
from torch import Tensor

from realm.model.checkpoint import Model
from realm.model.encoders import collate
from realm.model.inputs import Encoded
from realm.model.reader import Reader, SpanHead, body_mask

TOKENS, WIDTH = 7, 3


@pytest.fixture
def reader(tiny_model: Model) -> Reader:
    return tiny_model.reader.eval()


def span_inputs(batch: int = 2) -> tuple[SpanHead, Tensor, Tensor]:
    torch.manual_seed(0)
    head = SpanHead(hidden_size=6, span_hidden_size=4, max_span_width=WIDTH)
    body = torch.zeros(batch, TOKENS, dtype=torch.bool)
    body[0, 2:6] = True
    body[1, 3:5] = True
    return head, torch.randn(batch, TOKENS, 6), body


def test_span_logits_equal_the_formula_span_by_span() -> None:
    head, hidden, body = span_inputs()
    result = head.spans(hidden, body)
    weight, bias = head.dense_intermediate.weight, head.dense_intermediate.bias
    for b in range(2):
        for first in range(TOKENS):
            for width in range(WIDTH):
                last = first + width
                if last >= TOKENS or not body[b, first : last + 1].all():
                    assert not result.valid[b, first, width]
                    assert result.logits[b, first, width] == -torch.inf
                    continue
                # Start projection of the first token plus end projection of the last.
                start = weight[:4] @ hidden[b, first] + bias[:4]
                end = weight[4:] @ hidden[b, last] + bias[4:]
                joined = torch.nn.functional.layer_norm(torch.relu(start + end), (4,), eps=1e-3)
                expected = head.dense_output(joined)[0]
                assert result.valid[b, first, width]
                torch.testing.assert_close(result.logits[b, first, width], expected)


def test_the_number_of_valid_spans_follows_from_body_and_width() -> None:
    head, hidden, body = span_inputs()
    assert head.spans(hidden, body).valid.flatten(1).sum(1).tolist() == [4 + 3 + 2, 2 + 1]


def test_body_is_the_passage_without_its_closing_separator(tiny_model: Model) -> None:
    inputs = tiny_model.inputs
    rows = [inputs.reader([5, 6], [7, 8, 9]), inputs.reader([5], [7]), inputs.reader([5], [])]
    ids, segments, mask = collate(rows, inputs.pad)
    kept = [row[keep].tolist() for row, keep in zip(ids, body_mask(segments, mask), strict=True)]
    assert kept == [[7, 8, 9], [7], []]


def test_spans_of_a_batch_do_not_depend_on_padding(reader: Reader, tiny_model: Model) -> None:
    inputs = tiny_model.inputs
    short, long = inputs.reader([5], [7, 8]), inputs.reader([5, 6], [7, 8, 9, 10, 11, 7, 8])
    together = reader(*collate([short, long], inputs.pad)).logits[0, : len(short)]
    torch.testing.assert_close(together, reader(*collate([short], inputs.pad)).logits[0])


def test_target_log_probs_are_the_logs_of_a_distribution(reader: Reader) -> None:
    batch = collate([Encoded([2, 5, 4, 3], [0] * 4), Encoded([2, 4, 4, 7, 3], [0] * 5)], 0)
    hidden = reader.hidden(*batch)
    positions = torch.tensor([[2, 0], [1, 2]])
    vocabulary = reader.predictions.bias.shape[0]
    each = [
        reader.target_log_probs(hidden, positions, torch.full((2, 2), token))
        for token in range(vocabulary)
    ]
    torch.testing.assert_close(torch.stack(each).exp().sum(0), torch.ones(2, 2))


def test_log_probs_are_read_at_the_positions_asked_for(reader: Reader) -> None:
    hidden = reader.hidden(*collate([Encoded([2, 5, 4, 6, 3], [0] * 5)], 0))
    forwards = reader.masked_logits(hidden, torch.tensor([[1, 3]]))
    backwards = reader.masked_logits(hidden, torch.tensor([[3, 1]]))
    torch.testing.assert_close(forwards, backwards.flip(1))
    assert not torch.allclose(forwards[:, 0], forwards[:, 1])


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


def test_masked_language_modelling_trains_the_word_embeddings_through_the_decoder(
    reader: Reader,
) -> None:
    hidden = torch.randn(1, 3, 16)  # cut off from the backbone: only the decoder can give gradients
    loss = -reader.target_log_probs(hidden, torch.tensor([[1]]), torch.tensor([[7]])).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    words: Tensor = reader.backbone.embeddings.word_embeddings.weight  # type: ignore[union-attr, assignment]
    assert words.grad is not None
    assert words.grad[7].any()
