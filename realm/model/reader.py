"""The reader p(y|z,x): a BERT over question and passage, with two heads, or three.

Masked-LM head for pre-training (REALM, section 3.2, "Knowledge-Augmented Encoder"), span head
for open-domain question answering (the same section, Open-QA fine-tuning; Lee et al. 2017). A third
scores the passage itself, as a cross-encoder does (Nogueira and Cho 2019), where the config asks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from realm.model.bert import activation
from realm.model.blocks import BLOCK_MULTIPLE, BlockRunner, can_be_in_blocks
from realm.model.config import BertShape, ModelConfig
from realm.model.encoders import ForwardRunner, at_least_float32, run_directly
from realm.model.flat_bert import FlatBert
from realm.model.transformer import make_backbone

SPAN_NORM_EPS = 1e-3  # REALM's code; not BERT's 1e-12


class PredictionTransform(nn.Module):
    """Dense, activation, LayerNorm: BERT's own, before the vocabulary."""

    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.dense = nn.Linear(shape.hidden_size, shape.hidden_size)
        self.activation = activation(shape)
        self.LayerNorm = nn.LayerNorm(shape.hidden_size, eps=shape.layer_norm_eps)
        nn.init.normal_(self.dense.weight, std=shape.initializer_range)
        nn.init.zeros_(self.dense.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        transformed: Tensor = self.LayerNorm(self.activation(self.dense(hidden)))
        return transformed


class MaskedLMHead(nn.Module):
    """Scores over the vocabulary; the decoder is the word embedding matrix itself (tied)."""

    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.transform = PredictionTransform(shape)
        self.bias = nn.Parameter(torch.zeros(shape.vocab_size))

    def forward(self, hidden: Tensor, word_embeddings: Tensor) -> Tensor:
        """`hidden` [..., hidden], `word_embeddings` [vocab, hidden] → logits [..., vocab]."""
        return F.linear(self.transform(hidden), word_embeddings, self.bias)


@dataclass(frozen=True, slots=True)
class SpanLogits:
    """Scores of all spans: `logits[b, i, w]` is the span of tokens i … i + w, both included.

    `valid` [b, starts, widths] is True where the whole span lies in the body; elsewhere the logit
    is −inf. `null` [b] is the score of the empty span, which stands at [CLS]. `passage` [b] is what
    the head for passages adds to f(x, z) in re-ranking; None without one.
    """

    logits: Tensor
    valid: Tensor
    null: Tensor
    passage: Tensor | None = None


class SpanHead(nn.Module):
    """MLP over the *sum* of a start and an end projection (REALM's code: ReLU, LayerNorm, Linear).

    The two projections are the halves of one Linear, under transformers' names.
    """

    def __init__(self, hidden_size: int, span_hidden_size: int, max_span_width: int) -> None:
        super().__init__()
        self.max_span_width = max_span_width
        self.dense_intermediate = nn.Linear(hidden_size, 2 * span_hidden_size)
        self.layer_normalization = nn.LayerNorm(span_hidden_size, eps=SPAN_NORM_EPS)
        self.dense_output = nn.Linear(span_hidden_size, 1)

    def spans(self, hidden: Tensor, body: Tensor) -> SpanLogits:
        """`hidden` [batch, tokens, hidden], `body` [batch, tokens] bool → spans of every start."""
        beyond = self.max_span_width - 1
        start, end = self.dense_intermediate(hidden).chunk(2, dim=-1)  # [batch, tokens, span]
        ends = F.pad(end, (0, 0, 0, beyond)).unfold(1, self.max_span_width, 1)
        # [batch, starts, widths, span] → [batch, starts, widths]
        logits = self._score(start.unsqueeze(2) + ends.transpose(2, 3))
        return _mask_outside_body(body, logits, self._score(start[:, 0] + end[:, 0]))

    def _score(self, joined: Tensor) -> Tensor:
        """[..., span] → [...]"""
        score: Tensor = self.dense_output(self.layer_normalization(torch.relu(joined)))
        return at_least_float32(score.squeeze(-1))


class StartEndHead(nn.Linear):
    """Start plus end logit: the head of extractive QA (Devlin et al. 2019), one Linear(hidden → 2).

    Parameters have transformers' names (`qa_outputs.weight`, `qa_outputs.bias`).
    """

    def __init__(self, hidden_size: int, max_span_width: int) -> None:
        super().__init__(hidden_size, 2)
        self.max_span_width = max_span_width

    def spans(self, hidden: Tensor, body: Tensor) -> SpanLogits:
        """As `SpanHead.spans`."""
        start, end = at_least_float32(self(hidden)).unbind(-1)  # [batch, tokens]
        ends = _following(end, self.max_span_width)  # [batch, starts, widths]
        return _mask_outside_body(body, start.unsqueeze(2) + ends, start[:, 0] + end[:, 0])


def _following(values: Tensor, width: int) -> Tensor:
    """What follows each token: [batch, tokens] → [batch, tokens, width], zeros beyond the end."""
    return F.pad(values, (0, width - 1)).unfold(1, width, 1)


def _mask_outside_body(body: Tensor, logits: Tensor, null: Tensor) -> SpanLogits:
    """Only spans of the `body` [batch, tokens]; it is one run: both ends decide."""
    valid = body.unsqueeze(2) & _following(body, logits.shape[2])
    return SpanLogits(logits.masked_fill(~valid, -torch.inf), valid, null)


class Reader(nn.Module):
    """Backbone of its own, initialised from the base as the retriever's is.

    `answers` says how its scores become probabilities.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.runner: ForwardRunner = run_directly
        self.pad_multiple = 1  # of a batch's width
        self.answers = config.answers
        self.backbone = make_backbone(config.reader_shape)
        self.predictions = MaskedLMHead(config.reader_shape)
        self.qa_outputs = span_head(config)
        self.passage_scores = passage_head(config)

    @property
    def device(self) -> torch.device:
        return self.predictions.bias.device

    def freeze(self, dtype: torch.dtype) -> None:
        """It only finds spans from now on: BERT on a processor is computed flat, in this number
        format, by copies of its weights, which are given up themselves.
        """
        if can_be_in_blocks(self.backbone):
            self.runner = BlockRunner(FlatBert(self.backbone, dtype))
            self.pad_multiple = BLOCK_MULTIPLE
            self.backbone.encoder.layer = nn.ModuleList()
            self.backbone.embeddings.to("meta")

    def hidden(self, ids: Tensor, segments: Tensor, mask: Tensor) -> Tensor:
        """`ids`, `segments`, `mask` [batch, tokens] → hidden states [batch, tokens, hidden]."""
        return self.runner(self.backbone, self.backbone, ids, segments, mask)

    def masked_logits(self, hidden: Tensor, positions: Tensor) -> Tensor:
        """Vocabulary logits [batch, J, vocab] at `positions` [batch, J]."""
        index = positions.unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
        words = self.backbone.word_embeddings.weight  # [vocab, hidden]
        logits: Tensor = self.predictions(hidden.gather(1, index), words)
        return at_least_float32(logits)

    def target_log_probs(self, hidden: Tensor, positions: Tensor, targets: Tensor) -> Tensor:
        """log p(y_j | z, x) [batch, J] of token ids `targets` [batch, J] at `positions`.

        REALM, section 3.2. Unused places may hold any position and id; mask their result.
        """
        logits = self.masked_logits(hidden, positions)  # [batch, J, vocab]
        chosen = logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
        return chosen - logits.logsumexp(dim=-1)

    def span_logits(self, hidden: Tensor, body: Tensor) -> SpanLogits:
        """Span scores over the body tokens of each row; see `body_mask`."""
        spans = self.qa_outputs.spans(hidden, body)
        if self.passage_scores is None:
            return spans
        passage = at_least_float32(self.passage_scores(hidden[:, 0]).squeeze(-1))  # [batch]
        return replace(spans, passage=passage)

    def forward(self, ids: Tensor, segments: Tensor, mask: Tensor) -> SpanLogits:
        """The spans of question-and-passage inputs, each [batch, tokens]."""
        return self.span_logits(self.hidden(ids, segments, mask), body_mask(segments, mask))


def span_head(config: ModelConfig) -> SpanHead | StartEndHead:
    """A fresh head of the kind that the config names."""
    hidden, widest = config.reader_shape.hidden_size, config.max_span_width
    if config.span_scores == "start_end":
        return StartEndHead(hidden, widest)
    return SpanHead(hidden, config.span_hidden_size, widest)


def passage_head(config: ModelConfig) -> nn.Linear | None:
    """A fresh head for passages, at [CLS]: it begins at 0, so that f(x, z) ranks as before."""
    if not config.passage_scores:
        return None
    head = nn.Linear(config.reader_shape.hidden_size, 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def body_mask(segments: Tensor, mask: Tensor) -> Tensor:
    """True on the passage's own tokens [batch, tokens]: segment 1 without its closing [SEP]."""
    following = F.pad(mask, (0, 1))[:, 1:]  # False on each row's last token, which is [SEP]
    return (segments == 1) & mask.bool() & following.bool()
