"""Statistics of words: counted alike however the passages are divided, and kept to the last bit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.corpus.passages import to_table
from realm.errors import Corrupt
from realm.model.relevance import Relevance
from realm.records import arrow
from realm.records.store import Store
from realm.records.weighing import Weighing
from realm.search.queries import QueryMaker
from realm.search.word_statistics import (
    Counting,
    WordStatistics,
    count_words,
    read_word_statistics,
    write_word_statistics,
)
from realm.text.terms import term_hash
from tests.congruence.test_retrieval import passage
from tests.unit.indexer.examples import generation

texts = st.lists(
    st.lists(st.sampled_from("abcdefg"), max_size=6).map(" ".join), min_size=1, max_size=8
)


def counted(*batches: Sequence[str]) -> WordStatistics:
    counting = Counting()
    for batch in batches:
        each = [Counter(map(term_hash, text.split())) for text in batch]
        counting.add([list(one) for one in each], [list(one.values()) for one in each])
    return counting.result()


def same(one: WordStatistics, other: WordStatistics) -> bool:
    return (
        np.array_equal(one.terms, other.terms)
        and np.array_equal(one.holders, other.holders)
        and (one.passages, one.average_terms) == (other.passages, other.average_terms)
    )


@given(texts, st.integers(0, 8))
def test_they_are_those_of_all_passages_however_they_come(told: list[str], cut: int) -> None:
    found = counted(told[:cut], told[cut:])
    assert same(found, counted(told))
    words = {word for text in told for word in text.split()}
    holders = {term_hash(w): sum(w in text.split() for text in told) for w in words}
    assert dict(zip(found.terms.tolist(), found.holders.tolist(), strict=True)) == holders
    assert found.terms.tolist() == sorted(holders)
    assert found.passages == sum(bool(text) for text in told)
    lengths = [len(text.split()) for text in told]
    assert found.average_terms == pytest.approx(sum(lengths) / len(told))


def test_a_question_is_weighed_by_how_rare_its_words_are() -> None:
    found = counted(["a b", "a c", "a"])
    asked = dict(zip(*vars_of(found, "b a a z"), strict=True))
    assert asked[term_hash("b")] == pytest.approx(math.log(1 + 2.5 / 1.5))
    assert asked[term_hash("a")] == pytest.approx(2 * math.log(1 + 0.5 / 3.5))
    # Nobody had it when they were counted: it may have been written since.
    assert asked[term_hash("z")] == pytest.approx(math.log(1 + 3.5 / 0.5))
    assert found.question("…").indices == []


def vars_of(found: WordStatistics, text: str) -> tuple[list[int], list[float]]:
    weighed = found.question(text)
    return weighed.indices, weighed.values


def test_what_is_written_comes_back_and_equal_ones_are_one_file(store: Store) -> None:
    found = counted(["a b", "b c c"])
    path = write_word_statistics(store, "f", found)
    assert path.startswith("passages/f/words/")
    assert same(read_word_statistics(store, path), found)
    assert write_word_statistics(store, "f", counted(["a b"], ["b c c"])) == path
    store.write(path, store.read(path)[:-1] + b"x")
    with pytest.raises(Corrupt, match="checksum"):
        read_word_statistics(store, path)


def test_lost_statistics_are_counted_again_from_the_passages(store: Store) -> None:
    files = []
    for number in range(3):
        made = [passage(10 * number + row, f"w{row} w{number}", 1) for row in range(4)]
        files.append(f"passages/f/003-00{number}/x.arrow")
        arrow.write_table(store, files[-1], to_table(made))
    found = count_words(store, files)
    path = write_word_statistics(store, "f", found)
    manifest = generation(1, files=tuple(files), word_statistics=path)
    store.delete(path)
    again = QueryMaker.of(store, replace(manifest, k1=1.7), Relevance(20.0))
    assert again.words is not None
    assert same(again.words, found)
    assert again.words.weighing == Weighing(found.average_terms, 1.7), "as the manifest says"
