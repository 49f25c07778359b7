"""Which payload indexes are made, and when."""

from __future__ import annotations

import pytest

from realm.errors import DependencyUnavailable
from realm.search.qdrant.filters import MOST_INDEXES, PayloadIndexes

METADATA = [{"language": "en"}]


def test_a_collection_that_could_not_be_looked_at_is_looked_at_again() -> None:
    indexes = PayloadIndexes([])

    def away() -> int:
        raise DependencyUnavailable("Qdrant does not answer")

    with pytest.raises(DependencyUnavailable):
        indexes.missing("passages-1", METADATA, away)
    assert list(indexes.missing("passages-1", METADATA, lambda: 0)) == ['metadata."language"']


def test_a_collection_of_another_process_gets_no_more_than_there_is_room_for() -> None:
    indexes = PayloadIndexes([])
    assert indexes.missing("passages-1", METADATA, lambda: MOST_INDEXES) == {}
