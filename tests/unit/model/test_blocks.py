from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from realm.model import blocks
from realm.model.blocks import attend_by_products, even_rows


@given(st.integers(1, 10_000))
def test_products_have_few_numbers_of_rows_and_few_rows_for_nothing(tokens: int) -> None:
    rows = even_rows(tokens)
    assert tokens <= rows < tokens + max(16, tokens / 8)
    assert even_rows(rows) == rows
    assert even_rows(tokens) <= even_rows(tokens + 1)


def test_a_full_batch_has_no_rows_for_nothing() -> None:
    assert [even_rows(full) for full in (16, 1024, 2048, 4096)] == [16, 1024, 2048, 4096]
    assert len({even_rows(tokens) for tokens in range(1, 4097)}) < 50


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("cached", [1, 2 * 3 * 16 * 16, 1 << 19])
def test_attention_by_products_is_attention(
    padded: bool, cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "CACHED_SCORES", cached)
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 5, 3, 16, 8).unbind()  # [rows, heads, width, size]
    attended = torch.zeros(5, 1, 1, 16)
    for row in range(5 if padded else 0):
        attended[row, ..., 16 - row :] = -torch.inf
    given = attended if padded else None
    expected = F.scaled_dot_product_attention(query, key, value, given)
    torch.testing.assert_close(attend_by_products(query, key, value, given), expected)
