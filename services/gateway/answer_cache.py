"""What was answered before, for as long as the same would be answered again.

All that is kept belongs to one epoch: a generation, and the corpus version applied to it. A swap or
a write begins another one, with nothing in it: so nothing has to be taken back.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, NamedTuple, TypeVar

from realm.search.vector_index import IndexedPassage

Value = TypeVar("Value")

#: Of an entry, and of each passage in it, beside their texts.
ENTRY_BYTES, PASSAGE_BYTES = 1_500, 1_200


class Epoch(NamedTuple):
    """For how long answers stay the same."""

    generation: int
    corpus_version: int


class AnswerCache(Generic[Value]):
    """Values of the newest epoch, the least recently used given up first. For one thread."""

    def __init__(self, most_bytes: int, on_size: Callable[[int], None] = lambda used: None) -> None:
        """:param most_bytes: 0 keeps nothing.
        :param on_size: told how many bytes are in use.
        """
        self._most = most_bytes
        self._on_size = on_size
        self._epoch = Epoch(0, 0)
        self._kept: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._used = 0

    @property
    def enabled(self) -> bool:
        return self._most > 0

    @property
    def used(self) -> int:
        """In bytes."""
        return self._used

    def find(self, epoch: Epoch, key: Hashable) -> Value | None:
        """What was kept under the key in this very epoch; all that is older is forgotten."""
        if epoch != self._epoch:
            self._begin(epoch)
            return None
        if (found := self._kept.get(key)) is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def keep(self, epoch: Epoch, key: Hashable, value: Value, size: int) -> None:
        """:param epoch: that the value was found in; one that is over keeps nothing.
        :param size: of the value, in bytes.
        """
        if epoch != self._epoch or size > self._most:
            return
        self._drop(key)
        self._kept[key] = value, size
        self._used += size
        while self._used > self._most:
            self._drop(next(iter(self._kept)))
        self._on_size(self._used)

    def _begin(self, epoch: Epoch) -> None:
        self._epoch, self._used = epoch, 0
        self._kept.clear()
        self._on_size(0)

    def _drop(self, key: Hashable) -> None:
        if (gone := self._kept.pop(key, None)) is not None:
            self._used -= gone[1]


def size_of(key: tuple[object, ...], passages: Iterable[IndexedPassage]) -> int:
    """About how many bytes an answer and its key take: texts as they are, the rest by what it is
    at the most."""
    total = ENTRY_BYTES + sum(map(sys.getsizeof, key))
    for each in passages:
        texts = (each.title, each.text, *each.metadata, *each.metadata.values())
        total += PASSAGE_BYTES + sum(map(sys.getsizeof, texts))
    return total
