"""Which files of the corpus table are joined: small ones that came together. It reads nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from realm.corpus.data_files import DataFile

#: A joined file is no larger. Those of half of it are whole: two of them need not fit.
FILE_BYTES = 64 * 2**20
#: With so many small files the table is scattered: whoever reads it asks the store for each.
SCATTERED_FILES = 64
#: The youngest so many are joined, and those before that are no larger than all of these.
YOUNGEST_FILES = 32


def is_scattered(files: Sequence[DataFile]) -> bool:
    """Whether it is time to join some."""
    return len(_small(files)) >= SCATTERED_FILES


def joined(files: Sequence[DataFile]) -> list[list[DataFile]]:
    """The files that become one each, so chosen that no row is written again more often than the
    logarithm of how many there are.

    :param files: all of the table, in the order of their versions.
    """
    young: list[DataFile] = []
    size = 0
    for file in reversed(_small(files)):
        if len(young) >= YOUNGEST_FILES and file.size > size:
            break
        young.append(file)
        size += file.size
    return [group for group in fitting(young[::-1]) if len(group) > 1]


def fitting(files: Sequence[DataFile]) -> Iterator[list[DataFile]]:
    """In their order, those that fit into one file together."""
    group: list[DataFile] = []
    for file in files:
        if group and sum(each.size for each in group) + file.size > FILE_BYTES:
            yield group
            group = []
        group.append(file)
    if group:
        yield group


def _small(files: Sequence[DataFile]) -> list[DataFile]:
    return [file for file in files if file.size < FILE_BYTES // 2]
