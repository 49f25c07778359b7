"""Callers do not learn where things are."""

from __future__ import annotations

import pytest

from realm.errors import DependencyUnavailable, InvalidInput, NotFound, NotReady, Unreachable
from realm.process.redaction import HIDDEN, for_callers

PLACES = (
    "s3://bucket/realm",
    "file:///var/lib/realm/store",
    "redis://:password@redis:6379/0",
    "http://qdrant:6334",
    "ipv4:10.0.0.3:50052",
    "10.0.0.3:50052",
    "indexer-0.realm.svc:50052",
    "/var/lib/realm/store/live/00000001.json",
)


@pytest.mark.parametrize("place", PLACES)
def test_errors_of_what_is_behind_name_no_place(place: str) -> None:
    for kind in (DependencyUnavailable, NotReady, Unreachable):
        error = for_callers(kind(f"{place} is away ({place}): try again", leader=place))
        assert type(error) is kind
        assert error.message == f"{HIDDEN} is away ({HIDDEN}): try again"
        assert error.details == {"leader": HIDDEN}


def test_what_a_caller_sent_is_said_back() -> None:
    for kind in (InvalidInput, NotFound):
        error = kind("there is no document 'https://a.example/docs/b'", field="document_id")
        assert for_callers(error) is error


def test_words_and_figures_stay() -> None:
    said = "corpus version 12 is not in the index yet, it holds version 9; ask again in a moment"
    assert for_callers(NotReady(said, waited="0.50")).message == said
