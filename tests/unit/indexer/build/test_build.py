from __future__ import annotations

from dataclasses import replace

import pytest

from realm.records.snapshots import Snapshot
from services.indexer.build.build import Build
from services.indexer.build.lifecycle import ASKED
from services.indexer.build.loader import Loaded
from tests.unit.indexer.examples import generation


@pytest.fixture
def build() -> Build:
    """Of a snapshot published at 0.5; building began at 1."""
    snapshot = Snapshot(1, "d", 10, 0.5, None, "f", 2, {})
    return Build(generation(1), snapshot)


def test_phases_that_have_not_begun_are_left_out(build: Build) -> None:
    assert build.phase_seconds(3.0) == {"queue": 0.5, "embed": 2.0, "total": 2.5}


def test_phases_add_up_to_the_total(build: Build) -> None:
    build.embedded_at, build.loaded_at, build.optimised_at = 4.0, 4.5, 5.0
    build.validated_at, build.committed_at = 7.0, 7.5
    phases = build.phase_seconds(100.0, flipped_at=9.0)
    assert phases == {
        "queue": 0.5, "embed": 3.0, "load": 0.5, "optimize": 0.5, "validate": 2.0,
        "swap": 0.5, "flip": 1.5, "total": 8.5,
    }  # fmt: skip


def test_the_rate_is_that_of_shards_that_were_computed(build: Build) -> None:
    assert build.passages_per_second() is None
    build.loaded = {"a": Loaded(100, 100, 2.0), "b": Loaded(80, 0, 0.1), "c": Loaded(50, 50, 1.0)}
    assert build.passages_per_second() == 50.0


def test_starting_over_forgets_what_is_in_the_collection(build: Build) -> None:
    build.prepared = build.replicating = True
    build.loaded = {"a": Loaded(1, 1, 1.0)}
    build.start_over()
    assert (build.prepared, build.replicating, build.loaded) == (False, False, {})


def test_a_refresh_that_was_asked_for_begins_with_its_build(build: Build) -> None:
    """Its snapshot may have been published, and live, long ago."""
    asked = Build(replace(build.generation, why=ASKED), build.snapshot)
    assert asked.phase_seconds(3.0) == {"queue": 0.0, "embed": 2.0, "total": 2.0}
