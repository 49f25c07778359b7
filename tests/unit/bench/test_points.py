"""Two collections compared."""

import numpy as np

from bench.points import Points, difference


def points(ids: str, payloads: str, vectors: list[list[float]]) -> Points:
    rows = np.array(vectors, dtype=np.float32).reshape(-1, 2)
    return Points(list(ids), list(payloads), rows, [[ord(each)] for each in payloads])


def test_equal_collections_do_not_differ() -> None:
    one = points("ab", "xy", [[1, 0], [0, 1]])
    found = difference(one, points("ab", "xy", [[1, 0], [0, 1]]))
    assert (found.missing, found.extra, found.payloads, found.vectors) == (0, 0, 0, 0.0)
    assert found.terms == 0
    assert found.cosine == 1.0


def test_each_kind_of_difference_is_counted_apart() -> None:
    found = difference(
        points("abd", "xyz", [[1, 0], [0, 1], [1, 1]]),
        points("abce", "xqzz", [[1, 0], [0.25, 1], [1, 1], [1, 1]]),
    )
    assert (found.missing, found.extra, found.payloads, found.terms) == (2, 1, 1, 1)
    assert found.vectors == 0.25
    assert 0.9 < found.cosine < 1.0


def test_nothing_in_common_is_everything_missing() -> None:
    found = difference(points("", "", []), points("ab", "xy", [[1, 0], [0, 1]]))
    assert (found.missing, found.extra) == (2, 0)
    assert not found.vectors <= 1.0
