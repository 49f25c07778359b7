"""Where training begins, for every state that a store may be in."""

from __future__ import annotations

from pathlib import Path

import pytest

from realm.model.checkpoint import write_model
from realm.settings import Settings
from realm.snapshots import Snapshots
from realm.store import Store
from services.trainer.checkpoints import Checkpoint, Checkpoints
from services.trainer.origin import Origin, find_origin
from tests import tiny


@pytest.fixture
def settings(base: Path) -> Settings:
    return tiny.settings(base_model=str(base))


def find(settings: Settings, store: Store) -> Origin:
    return find_origin(settings, Checkpoints(store), Snapshots(store))


def publish(store: Store, origin: Origin, step: int, folder: Path) -> None:
    write_model(folder, origin.model)
    Snapshots(store).publish(
        folder, step=step, fingerprint=origin.model.inputs.fingerprint, vector_size=32
    )


def save(store: Store, origin: Origin, step: int) -> None:
    Checkpoints(store).save(Checkpoint(step, origin.model, {}, {}))


def test_an_empty_store_begins_with_the_base(settings: Settings, store: Store) -> None:
    origin = find(settings, store)
    assert (origin.step, origin.checkpoint, origin.unpublished) == (0, None, True)
    assert origin.model.inputs.limits.query == tiny.LIMITS.query
    assert origin.model.config.candidates == settings.candidates


def test_snapshots_alone_are_gone_on_from(settings: Settings, store: Store, tmp_path: Path) -> None:
    publish(store, find(settings, store), 40, tmp_path / "a")
    origin = find(settings, store)
    assert (origin.step, origin.checkpoint, origin.unpublished) == (40, None, False)


def test_a_checkpoint_comes_before_the_snapshots(
    settings: Settings, store: Store, tmp_path: Path
) -> None:
    begun = find(settings, store)
    publish(store, begun, 40, tmp_path / "a")
    save(store, begun, 55)
    origin = find(settings, store)
    assert origin.checkpoint is not None
    assert (origin.step, origin.unpublished) == (55, False)


def test_with_training_off_checkpoints_play_no_part(
    settings: Settings, store: Store, tmp_path: Path
) -> None:
    begun = find(settings, store)
    publish(store, begun, 40, tmp_path / "a")
    save(store, begun, 55)
    off = settings.model_copy(update={"train": False})
    assert find(off, store).step == 40


def test_another_base_begins_anew_and_is_to_be_published(
    settings: Settings, store: Store, tmp_path: Path
) -> None:
    begun = find(settings, store)
    publish(store, begun, 40, tmp_path / "a")
    save(store, begun, 55)
    other = tiny.write_base(tmp_path / "other", seed=9)
    origin = find(settings.model_copy(update={"base_model": str(other)}), store)
    assert (origin.step, origin.checkpoint, origin.unpublished) == (0, None, True)


def test_other_lengths_need_a_snapshot_that_says_so(
    settings: Settings, store: Store, tmp_path: Path
) -> None:
    publish(store, find(settings, store), 40, tmp_path / "a")
    longer = settings.model_copy(update={"passage_tokens": tiny.LIMITS.passage + 8})
    origin = find(longer, store)
    assert (origin.step, origin.unpublished) == (40, True)
    assert origin.model.inputs.limits.passage == tiny.LIMITS.passage + 8
    assert origin.model.config.lengths == origin.model.inputs.limits
