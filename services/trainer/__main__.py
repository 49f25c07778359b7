"""Starts the trainer: settings, model, parts, signals."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace

import structlog
import torch

from realm.errors import BadSettings, Diverged, RealmError
from realm.model.runtime import pick_device, set_threads
from realm.process import memory
from realm.process.signals import stop_event
from realm.process.telemetry import set_up
from realm.process.threads import exit_or_kill_after
from realm.process.wakeup import Wakeup
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from realm.settings import Settings, load_settings
from realm.training.distributed import ALONE, World, join, leave, local_rank
from services.trainer.checkpoints import Checkpoints, Origin, find_origin
from services.trainer.context import Cadence, Heartbeat, TrainingContext, retry_while_unavailable
from services.trainer.metrics import TensorBoardWriter, TrainerMetrics
from services.trainer.publisher import Publisher
from services.trainer.run import TrainingRun, publish_origin

IDLE_BEAT_SECONDS = 10.0

_log = structlog.get_logger(__name__)


def main() -> int:
    code = _train()
    exit_or_kill_after(code)
    return code


def _train() -> int:
    """Exit code 0 after SIGTERM; 2 if a restart cannot help (unusable settings, or divergence
    after all retries); 1 if training cannot go on for another reason.
    """
    stop = stop_event()
    world = ALONE
    try:
        settings = load_settings()
        device = start_compute(settings)
        world = join(device)
        set_up(settings if world.leads else _without_metrics_port(settings), "trainer")
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

    :raises Diverged: if training diverged and lower rates did not help.
    """
    heartbeat = Heartbeat(settings.process.heartbeat_file if world.leads else "")
    store = retry_while_unavailable(
        stop,
        heartbeat,
        lambda: Store.open(settings.addresses.store_url, settings.addresses.store_cache),
    )
    origin = None
    if store is not None and world.leads:
        origin = retry_while_unavailable(
            stop, heartbeat, lambda: find_origin(settings, Checkpoints(store), Snapshots(store))
        )
    if store is None or (world.leads and origin is None):
        world.share(False)
        return
    board = TensorBoardWriter(
        settings.trainer.tensorboard_dir if world.leads and settings.trainer.train else ""
    )
    context = TrainingContext(settings, store, device, metrics, world, heartbeat, board)
    if origin is not None:
        _lead(context, origin, stop)
        if not (settings.trainer.train or stop.is_set()):
            del origin  # a model is as large as a process
            _idle(heartbeat, stop)
    # The leader publishes the base first: else there is nothing to begin with.
    elif world.share(False):
        TrainingRun(context, None).run(None, stop)


def _lead(context: TrainingContext, origin: Origin, stop: threading.Event) -> None:
    settings, store, heartbeat = context.settings, context.store, context.heartbeat
    wakeup = Wakeup(settings.addresses.redis_url)
    cadence = Cadence(
        settings.trainer.snapshot_every_steps,
        settings.trainer.snapshot_min_seconds,
        origin.step,
        time.monotonic(),
    )
    publisher = Publisher(Snapshots(store), cadence, context.metrics, wakeup.send)
    try:
        if (published := publish_origin(context, publisher, origin, stop)) is not None:
            origin = replace(origin, snapshot=published.number)
        retry_while_unavailable(
            stop, heartbeat, lambda: Checkpoints(store).record_source(origin.source)
        )
        trains = settings.trainer.train and not stop.is_set()
        context.world.share(trains)
        if trains:
            TrainingRun(context, publisher).run(origin, stop)
    finally:
        wakeup.close()


def _idle(heartbeat: Heartbeat, stop: threading.Event) -> None:
    memory.give_back()
    _log.info("idle", why="REALM_TRAIN is false")
    while not stop.wait(IDLE_BEAT_SECONDS):
        heartbeat.beat()


def _without_metrics_port(settings: Settings) -> Settings:
    """Only the leader serves metrics."""
    return settings.replace(metrics_port=0)


if __name__ == "__main__":
    sys.exit(main())
