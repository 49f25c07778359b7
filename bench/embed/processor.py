"""What a processor could do: the rate of its matrix products, and what BERT asks of it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from realm.model.config import BertShape
from realm.model.products import OneDnnProduct, PlainProduct, has_onednn

#: Tokens of a product, as in an ordinary batch.
TOKENS = 2048
TRIALS = 12


def operations(shape: BertShape, lengths: Sequence[int]) -> float:
    """Floating-point operations of the backbone for inputs of these lengths: 2 for each weight of
    a linear map and token, 4 · hidden for each pair of tokens of an input."""
    hidden, inner, layers = shape.hidden_size, shape.intermediate_size, shape.num_hidden_layers
    tokens, pairs = sum(lengths), sum(each * each for each in lengths)
    return float(layers * (2 * tokens * (4 * hidden + 2 * inner) * hidden + 4 * pairs * hidden))


@torch.inference_mode()
def matrix_rate(shape: BertShape, dtype: torch.dtype) -> float:
    """Operations a second of a layer's products alone, the best of several trials."""
    hidden, inner = shape.hidden_size, shape.intermediate_size
    make = OneDnnProduct if has_onednn(dtype) else PlainProduct
    pairs = []
    for size, out in ((hidden, 3 * hidden), (hidden, hidden), (hidden, inner), (inner, hidden)):
        weight, bias = torch.randn(out, size).to(dtype), torch.zeros(out, dtype=dtype)
        pairs.append((make(weight, bias), torch.randn(TOKENS, size).to(dtype)))
    work = 2 * TOKENS * (4 * hidden + 2 * inner) * hidden
    best = float("inf")
    for _ in range(TRIALS):
        began = time.perf_counter()
        for product, x in pairs:
            product(x)
        best = min(best, time.perf_counter() - began)
    return work / best
