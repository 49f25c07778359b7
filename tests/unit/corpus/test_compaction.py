"""Joining small files: what law it keeps whatever their sizes are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from realm.corpus.compaction import FILE_BYTES, SCATTERED_FILES, is_scattered, joined
from realm.corpus.data_files import DataFile

SIZES = st.lists(st.one_of(st.integers(1, 10**5), st.integers(1, 2 * FILE_BYTES)), max_size=300)


def files_of(sizes: list[int]) -> list[DataFile]:
    return [DataFile(str(place), size, {}, {}, {}) for place, size in enumerate(sizes)]


def after(files: list[DataFile], groups: list[list[DataFile]]) -> list[DataFile]:
    """The first of a group becomes all of it."""
    gone = {each.name for group in groups for each in group[1:]}
    sizes = {group[0].name: sum(each.size for each in group) for group in groups}
    return [
        DataFile(each.name, sizes.get(each.name, each.size), {}, {}, {})
        for each in files
        if each.name not in gone
    ]


@given(SIZES)
def test_joined_files_are_neighbours_in_order_and_fit(sizes: list[int]) -> None:
    places = []
    for group in joined(files_of(sizes)):
        assert len(group) > 1
        assert sum(each.size for each in group) <= FILE_BYTES
        assert all(each.size < FILE_BYTES // 2 for each in group), "what is whole stays"
        places += [int(each.name) for each in group]
    assert places == sorted(set(places))


@given(SIZES)
def test_a_scattered_table_becomes_one_that_is_not(sizes: list[int]) -> None:
    files = files_of(sizes)
    while is_scattered(files):
        groups = joined(files)
        assert groups, "else it would be looked at for ever"
        files = after(files, groups)


def test_a_write_to_a_large_corpus_writes_none_of_its_files_again() -> None:
    whole = files_of([FILE_BYTES * 3 // 4] * 500)
    for few in range(SCATTERED_FILES):
        files = [*whole, *files_of([1000] * few)]
        assert not is_scattered(files)
    groups = joined([*whole, *files_of([1000] * SCATTERED_FILES)])
    assert [len(group) for group in groups] == [SCATTERED_FILES]
