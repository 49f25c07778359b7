from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from realm.model.batch_forward import fill_batches


@given(st.lists(st.integers(1, 288), max_size=60), st.integers(1, 2000))
def test_filled_batches_hold_every_input_once_within_the_budget(
    lengths: list[int], budget: int
) -> None:
    batches = fill_batches(lengths, budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    sizes = [sum(lengths[i] for i in batch) for batch in batches]
    for place, (batch, size) in enumerate(zip(batches, sizes, strict=True)):
        assert len(batch) == 1 or size <= budget
        later = [lengths[i] for own in batches[place + 1 :] for i in own]
        assert all(size + length > budget for length in later), "there was room for it"
