from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
import torch

from realm.evaluation.parallel import parallel_map

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 10])
def test_results_keep_the_order_of_the_items(count: int) -> None:
    heard: list[tuple[int, int]] = []

    def square(share: Sequence[int], told: Callable[[int], None]) -> list[int]:
        told(len(share))
        return [item * item for item in share]

    found = parallel_map(square, range(count), CPU, lambda done, total: heard.append((done, total)))
    assert found == [item * item for item in range(count)]
    assert heard[-1] == (count, count)


def test_budget_of_threads_comes_back_after_an_error() -> None:
    def fail(_share: Sequence[int], _told: Callable[[int], None]) -> list[int]:
        assert torch.get_num_threads() == 1
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        parallel_map(fail, range(9), CPU, lambda _done, _total: None)
    assert torch.get_num_threads() == 3
