from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from realm.model.blocks import even_rows


@given(st.integers(1, 10_000))
def test_products_have_few_numbers_of_rows_and_few_rows_for_nothing(tokens: int) -> None:
    rows = even_rows(tokens)
    assert tokens <= rows < tokens + max(16, tokens / 8)
    assert even_rows(rows) == rows
    assert even_rows(tokens) <= even_rows(tokens + 1)


def test_a_full_batch_has_no_rows_for_nothing() -> None:
    assert [even_rows(full) for full in (16, 1024, 2048, 4096)] == [16, 1024, 2048, 4096]
    assert len({even_rows(tokens) for tokens in range(1, 4097)}) < 50
