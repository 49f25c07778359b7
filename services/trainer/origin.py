"""Where training begins: a checkpoint, a snapshot published since, or what REALM_BASE_MODEL names.

The first training of a store starts from REALM_BASE_MODEL, and training restarts from it whenever
it has changed. Otherwise training continues from the newest snapshot, whatever its base: from the
checkpoint if the same training published that snapshot, else from the snapshot itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from realm.errors import NotFound
from realm.model.checkpoint import CONFIG_FILE, Model, load_config, load_model
from realm.model.publishing import load_source, source_digest, with_settings
from realm.records.snapshots import Snapshot, Snapshots
from realm.settings import Settings
from services.trainer.checkpoints import Checkpoint, Checkpoints

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Origin:
    """The model to continue with.

    :param unpublished: the store has no snapshot that cuts and encodes passages in the same way.
    :param source: the digest of what REALM_BASE_MODEL names.
    :param from_base: the model derives from no snapshot.
    """

    model: Model
    step: int
    checkpoint: Checkpoint | None
    unpublished: bool
    source: str = ""
    from_base: bool = False


def find_origin(settings: Settings, checkpoints: Checkpoints, snapshots: Snapshots) -> Origin:
    """:raises RealmError: if the base is not available, or the newest snapshot is damaged."""
    source, newest = source_digest(settings.model.base_model), snapshots.newest()
    if newest is None or checkpoints.source() not in (None, source):
        model = with_settings(load_source(settings.model.base_model, settings), settings)
        _log.info("started_from_base", base=model.config.base_name)
        return Origin(model, 0, None, unpublished=True, source=source, from_base=True)
    checkpoint = checkpoints.newest() if settings.trainer.train else None
    if checkpoint and _same_training(newest, checkpoint, snapshots):
        model, step = checkpoint.model, checkpoint.step
        _log.info("resumed", step=step)
    else:
        checkpoint = None
        model, step = load_model(snapshots.materialise(newest)), newest.step
        _log.info("started_from_snapshot", snapshot=newest.number, step=step)
    model = with_settings(model, settings)
    return Origin(model, step, checkpoint, newest.fingerprint != model.inputs.fingerprint, source)


def _same_training(newest: Snapshot, checkpoint: Checkpoint, snapshots: Snapshots) -> bool:
    """Whether the training of the checkpoint published the newest snapshot, or began with it."""
    published: int | None = checkpoint.state.get("snapshot")
    if published is None:  # written by an older release
        config = load_config(snapshots.materialise(newest, (CONFIG_FILE,)))
        return config.base_sha256 == checkpoint.model.config.base_sha256
    while newest.number > published:
        if newest.parent is None:
            return False
        parent = newest.parent
        try:
            newest = snapshots.get(parent)
        except NotFound:  # deleted, while snapshots derived from it remain
            return parent >= published
    return newest.number == published
