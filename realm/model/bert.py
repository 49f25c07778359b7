"""BERT (Devlin et al. 2019), its weights by the names that published checkpoints have.

Our own, since transformers costs every process that imports it as much memory and processor time
as torch does. `tests/unit/model/test_bert.py` compares the two.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from realm.errors import BadSettings
from realm.model.config import BertShape

Activation = Callable[[Tensor], Tensor]

#: By their names in a `config.json`. The tanh forms are approximations of the Gaussian one.
ACTIVATIONS: dict[str, Activation] = {
    "gelu": F.gelu,
    "gelu_python": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_fast": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": torch.tanh,
}


def activation(shape: BertShape) -> Activation:
    """:raises BadSettings: if the shape names one that realm does not know."""
    if shape.hidden_act not in ACTIVATIONS:
        raise BadSettings(
            f"the base's activation {shape.hidden_act} is unknown; known are"
            f" {', '.join(ACTIVATIONS)}"
        )
    return ACTIVATIONS[shape.hidden_act]


class Embeddings(nn.Module):
    """Word + segment + position, normalised."""

    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        size = shape.hidden_size
        self.word_embeddings = nn.Embedding(shape.vocab_size, size, padding_idx=shape.pad_token_id)
        self.position_embeddings = nn.Embedding(shape.max_position_embeddings, size)
        self.token_type_embeddings = nn.Embedding(shape.type_vocab_size, size)
        self.LayerNorm = nn.LayerNorm(size, eps=shape.layer_norm_eps)
        self.dropout = nn.Dropout(shape.hidden_dropout_prob)

    def forward(self, ids: Tensor, segments: Tensor) -> Tensor:
        """`ids`, `segments` [batch, tokens] → [batch, tokens, hidden]."""
        positions = torch.arange(ids.shape[1], device=ids.device)  # [tokens]
        words = self.word_embeddings(ids) + self.token_type_embeddings(segments)
        normed: Tensor = self.LayerNorm(words + self.position_embeddings(positions))
        dropped: Tensor = self.dropout(normed)
        return dropped


class SelfAttention(nn.Module):
    """Several heads of softmax(QKᵀ / √d)·V (Vaswani et al. 2017, section 3.2).

    `fused`: by torch's own kernels; they are slow in the backward pass on a processor.
    """

    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.fused = True
        self.heads = shape.num_attention_heads
        self.dropout_probability = shape.attention_probs_dropout_prob
        self.query = nn.Linear(shape.hidden_size, shape.hidden_size)
        self.key = nn.Linear(shape.hidden_size, shape.hidden_size)
        self.value = nn.Linear(shape.hidden_size, shape.hidden_size)

    def forward(self, hidden: Tensor, attended: Tensor | None) -> Tensor:
        """[batch, tokens, hidden] → the same; `attended` as `attended_tokens` gives it."""
        query, key, value = (
            self._by_head(projection(hidden)) for projection in (self.query, self.key, self.value)
        )
        attention = F.scaled_dot_product_attention if self.fused else plain_attention
        dropout = self.dropout_probability if self.training else 0.0
        mixed = attention(query, key, value, attended, dropout)
        return mixed.transpose(1, 2).flatten(2)

    def _by_head(self, projected: Tensor) -> Tensor:
        """[batch, tokens, hidden] → [batch, heads, tokens, hidden / heads]"""
        batch, tokens, _ = projected.shape
        return projected.view(batch, tokens, self.heads, -1).transpose(1, 2)


def plain_attention(
    query: Tensor, key: Tensor, value: Tensor, attended: Tensor | None, dropout: float
) -> Tensor:
    """As torch's `scaled_dot_product_attention`: [batch, heads, tokens, size] each."""
    scores = query @ key.transpose(2, 3) * query.shape[3] ** -0.5  # [batch, heads, tokens, tokens]
    if attended is not None:
        scores = scores.masked_fill(~attended, -torch.inf)
    return F.dropout(scores.softmax(-1), dropout) @ value


class ResidualOutput(nn.Module):
    """LayerNorm(x + dropout(Linear(f(x)))): the end of each sublayer."""

    def __init__(self, size: int, shape: BertShape) -> None:
        super().__init__()
        self.dense = nn.Linear(size, shape.hidden_size)
        self.LayerNorm = nn.LayerNorm(shape.hidden_size, eps=shape.layer_norm_eps)
        self.dropout = nn.Dropout(shape.hidden_dropout_prob)

    def forward(self, inner: Tensor, residual: Tensor) -> Tensor:
        """`inner` [batch, tokens, size], `residual` [batch, tokens, hidden] → as `residual`."""
        normed: Tensor = self.LayerNorm(self.dropout(self.dense(inner)) + residual)
        return normed


class Layer(nn.Module):
    """Attention, then two dense maps. The tree of modules is that of the weights' names."""

    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        attention = {
            "self": SelfAttention(shape),
            "output": ResidualOutput(shape.hidden_size, shape),
        }
        self.attention = nn.ModuleDict(attention)
        self.intermediate = nn.ModuleDict(
            {"dense": nn.Linear(shape.hidden_size, shape.intermediate_size)}
        )
        self.output = ResidualOutput(shape.intermediate_size, shape)
        self.activation = activation(shape)

    def forward(self, hidden: Tensor, attended: Tensor | None) -> Tensor:
        """[batch, tokens, hidden] → the same; `attended` as `attended_tokens` gives it."""
        hidden = self.attention["output"](self.attention["self"](hidden, attended), hidden)
        inner = self.activation(self.intermediate["dense"](hidden))  # [batch, tokens, intermediate]
        layer: Tensor = self.output(inner, hidden)
        return layer


class LayerStack(nn.Module):
    """The layers in turn.

    `recompute`: hold only the layers' inputs, and compute each again in the backward pass (Chen
    et al. 2016).
    """

    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.recompute = False
        self.layer = nn.ModuleList(Layer(shape) for _ in range(shape.num_hidden_layers))

    def forward(self, hidden: Tensor, attended: Tensor | None) -> Tensor:
        """[batch, tokens, hidden] → the same; `attended` as `attended_tokens` gives it."""
        for layer in self.layer:
            if self.recompute and torch.is_grad_enabled():
                hidden = checkpoint(layer, hidden, attended, use_reentrant=False)
            else:
                hidden = layer(hidden, attended)
        return hidden


class Pooler(nn.Module):
    """tanh(Linear(state of [CLS]))."""

    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.dense = nn.Linear(shape.hidden_size, shape.hidden_size)

    def forward(self, states: Tensor) -> Tensor:
        """[batch, tokens, hidden] → [batch, hidden]"""
        return torch.tanh(self.dense(states[:, 0]))


class Bert(nn.Module):
    """Embeddings and layers, and a pooler if asked for, which only its user calls.

    Its weights are fresh, or none under the meta device.
    """

    def __init__(self, shape: BertShape, *, pooler: bool = False) -> None:
        super().__init__()
        self.head_size = shape.hidden_size // shape.num_attention_heads
        self.embeddings = Embeddings(shape)
        self.encoder = LayerStack(shape)
        self.pooler = Pooler(shape) if pooler else None
        self.apply(partial(_initialise, spread=shape.initializer_range))

    @property
    def layers(self) -> nn.ModuleList:
        return self.encoder.layer

    @property
    def word_embeddings(self) -> nn.Embedding:
        return self.embeddings.word_embeddings

    @property
    def recompute(self) -> bool:
        return self.encoder.recompute

    @recompute.setter
    def recompute(self, wanted: bool) -> None:
        self.encoder.recompute = wanted

    def forward(self, ids: Tensor, segments: Tensor, mask: Tensor) -> Tensor:
        """`ids`, `segments`, `mask` [batch, tokens] → states [batch, tokens, hidden]."""
        states: Tensor = self.encoder(self.embeddings(ids, segments), attended_tokens(mask))
        return states


def attended_tokens(mask: Tensor) -> Tensor | None:
    """`mask` [batch, tokens] for attention [batch, 1, 1, tokens]; None where nothing is padding.

    Attention without a mask is faster.
    """
    return None if bool(mask.all()) else mask.bool()[:, None, None, :]


def _initialise(module: nn.Module, *, spread: float) -> None:
    """As in BERT's own code; norms are made as they have to be."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=spread)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=spread)
        with torch.no_grad():
            if module.padding_idx is not None:
                module.weight[module.padding_idx].zero_()
