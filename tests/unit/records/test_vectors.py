"""Vector files: rows and floats come back exactly; what is not finite is refused."""

from pathlib import Path

import numpy as np
import pytest

from realm.errors import Corrupt
from realm.records.store import Store
from realm.records.vectors import (
    matrix,
    no_vectors,
    read_vectors,
    to_table,
    vector_file,
    write_vectors,
)


def test_vectors_come_back_bit_for_bit(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    vectors = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    table = to_table([f"p{i}" for i in range(5)], ["h"] * 5, vectors, {"snapshot": "1"})
    write_vectors(store, "v.arrow", table)
    assert np.array_equal(matrix(read_vectors(store, "v.arrow")), vectors)


def test_vectors_that_are_there_are_no_error(tmp_path: Path) -> None:
    """The answer to a put may be lost: what is sent again meets its own file."""
    store = Store.open(str(tmp_path))
    table = to_table(["p"], ["h"], np.ones((1, 2), np.float32), {})
    for _ in range(2):
        write_vectors(store, "v.arrow", table)
    assert matrix(read_vectors(store, "v.arrow")).tolist() == [[1.0, 1.0]]


def test_no_passages_give_no_rows() -> None:
    table = to_table([], [], np.empty((0, 3), np.float32), {})
    assert matrix(table).shape == (0, 3)


def test_words_alone_have_rows_without_vectors(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    write_vectors(store, "v.arrow", to_table(["p", "q"], ["h", "i"], no_vectors(2), {}))
    table = read_vectors(store, "v.arrow")
    assert table["content_hash"].to_pylist() == ["h", "i"]
    assert matrix(table).shape == (2, 0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_names_its_passage(value: float) -> None:
    vectors = np.zeros((3, 2), np.float32)
    vectors[1, 0] = value
    with pytest.raises(Corrupt, match="p1"):
        to_table(["p0", "p1", "p2"], ["h"] * 3, vectors, {})


def test_the_path_follows_from_snapshot_and_passage_file() -> None:
    path = vector_file("00000003-abc", "passages/f/004-001/c.arrow")
    assert path == "vectors/00000003-abc/f/004-001/c.arrow"
