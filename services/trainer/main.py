"""Starts the trainer: settings, model, parts, signals."""

from __future__ import annotations

import sys
import threading
import time

import structlog
import torch

from realm.errors import BadSettings, Diverged, RealmError
from realm.model.runtime import pick_device, set_threads
from realm.process.signals import stop_event
from realm.process.telemetry import set_up
from realm.process.wakeup import Wakeup
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from realm.settings import Settings, load_settings
from realm.training.distributed import ALONE, World, join, leave, local_rank
from services.trainer.checkpoints import Checkpoints
from services.trainer.divergence import Training
from services.trainer.heartbeat import Heartbeat
from services.trainer.metrics import TrainerMetrics
from services.trainer.origin import find_origin
from services.trainer.patience import patiently
from services.trainer.publisher import Publisher
from services.trainer.schedule import Cadence

IDLE_BEAT_SECONDS = 10.0

_log = structlog.get_logger(__name__)


def main() -> int:
    """Exit code 0 after SIGTERM, 1 if training cannot go on, 2 if it never will by itself.

    That is with unusable settings, and when training diverges however often it is tried.
    """
    stop = stop_event()
    world = ALONE
    try:
        settings = load_settings()
        device = start_compute(settings)
        world = join(device)
        set_up(settings if world.leads else _unseen(settings), "trainer")
        run(settings, device, stop, TrainerMetrics(), world)
    except (BadSettings, Diverged) as error:
        sys.stderr.write(f"trainer: {error.message}\n")
        return 2
    except RealmError as error:
        _log.error("trainer_failed", why=error.message)
        sys.stderr.write(f"trainer: {error.message}\n")
        return 1
    finally:
        leave(world)
    return 0


def start_compute(settings: Settings) -> torch.device:
    """:raises BadSettings: if the device is absent."""
    set_threads(settings.process.threads)
    torch.manual_seed(settings.trainer.seed)
    device = pick_device(settings.process.device)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", local_rank())
    return device


def run(
    settings: Settings,
    device: torch.device,
    stop: threading.Event,
    metrics: TrainerMetrics,
    world: World = ALONE,
) -> None:
    """Publishes the base if the store lacks it, then trains (or idles) until `stop` is set.

    :raises Diverged: if training left the finite numbers and lower rates did not help.
    """
    heartbeat = Heartbeat(settings.process.heartbeat_file if world.leads else "")
    store = patiently(
        stop,
        heartbeat,
        lambda: Store.open(settings.addresses.store_url, settings.addresses.store_cache),
    )
    if not world.leads:
        # The leader publishes the base first: else there is nothing to begin with.
        if world.share(False) and store is not None:
            Training(settings, store, None, device, metrics, world, heartbeat).run(None, stop)
        return
    if store is None:
        world.share(False)
        return
    snapshots = Snapshots(store)
    checkpoints = Checkpoints(store)
    origin = patiently(stop, heartbeat, lambda: find_origin(settings, checkpoints, snapshots))
    if origin is None:
        world.share(False)
        return
    nudge = Wakeup(settings.addresses.redis_url)
    cadence = Cadence(
        settings.trainer.snapshot_every_steps,
        settings.trainer.snapshot_min_seconds,
        origin.step,
        time.monotonic(),
    )
    publisher = Publisher(snapshots, cadence, metrics, nudge.send)
    try:
        if origin.unpublished:
            patiently(
                stop,
                heartbeat,
                lambda: publisher.publish_now(origin.model, origin.step, anew=origin.anew),
            )
        if not stop.is_set():
            patiently(stop, heartbeat, lambda: checkpoints.note_source(origin.source))
        trains = settings.trainer.train and not stop.is_set()
        world.share(trains)
        if trains:
            training = Training(settings, store, publisher, device, metrics, world, heartbeat)
            training.run(origin, stop)
        elif not stop.is_set():
            _log.info("idles", why="REALM_TRAIN is false")
            while not stop.wait(IDLE_BEAT_SECONDS):
                heartbeat.beat()
    finally:
        nudge.close()


def _unseen(settings: Settings) -> Settings:
    """One process alone shows figures."""
    return settings.replace(metrics_port=0)
