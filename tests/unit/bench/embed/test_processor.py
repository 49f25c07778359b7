from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.embed.processor import matrix_rate, operations
from realm.model.bert import Bert, SelfAttention
from realm.model.config import BertShape

SHAPE = BertShape(
    vocab_size=50, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64
)


def test_operations_are_those_that_torch_counts() -> None:
    bert = Bert(SHAPE).eval()
    for module in bert.modules():
        if isinstance(module, SelfAttention):
            module.fused = False  # torch counts nothing of its own kernel
    counter = FlopCounterMode(display=False)
    lengths = [7, 19]
    with torch.no_grad(), counter:
        for length in lengths:
            ids = torch.ones((1, length), dtype=torch.int64)
            bert(ids, torch.zeros_like(ids), torch.ones_like(ids, dtype=torch.bool))
    assert operations(SHAPE, lengths) == counter.get_total_flops()


def test_a_processor_multiplies() -> None:
    assert matrix_rate(SHAPE, torch.float32) > 0
