from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from realm.evaluation.report import depth_for_documents, first_rank, mean, percentile, recall


def test_recall_counts_ranks_up_to_k() -> None:
    assert recall([1, 2, 5, 6, None], 1) == 0.2
    assert recall([1, 2, 5, 6, None], 5) == 0.6
    assert recall([], 5) is None


def test_passages_of_one_document_take_one_rank() -> None:
    assert first_rank(["a", "a", "a", "b", "a", "c"], {"b", "d"}) == 2
    assert first_rank(["a", "a", "a", "b", "a", "c"], ("c",)) == 3
    assert first_rank(["a"], ["z"]) is None


@given(st.lists(st.sampled_from("abcdef"), min_size=1), st.integers(1, 6), st.randoms())
def test_depth_holds_so_many_documents_in_any_order(
    ids: list[str], documents: int, rng: object
) -> None:
    depth = depth_for_documents(ids, documents)
    rng.shuffle(ids)  # type: ignore[attr-defined]
    assert len(set(ids[:depth])) >= min(documents, len(set(ids)))


def test_figures_of_nothing_are_absent() -> None:
    assert mean([]) is None
    assert percentile([], 50) is None
    assert mean([0.0, 1.0]) == 0.5
    assert percentile([1.0, 2.0, 3.0], 50) == 2.0
