"""Starts the trainer: settings, model, parts, signals."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import structlog
import torch

from realm.errors import BadSettings, DependencyUnavailable, RealmError
from realm.generations import Generations
from realm.model.runtime import pick_device, set_threads
from realm.nudge import Nudge
from realm.objectives.candidates import CandidateSearch
from realm.objectives.inverse_cloze import InverseCloze
from realm.objectives.masked_lm import MaskedLM
from realm.objectives.salient_spans import RuleTagger
from realm.search.qdrant import PassageIndex
from realm.settings import Settings, load_settings
from realm.snapshots import Snapshots
from realm.store import Store
from realm.telemetry import set_up
from services.trainer.checkpoints import Checkpoints
from services.trainer.curriculum import Curriculum
from services.trainer.learner import Learner
from services.trainer.loop import Trainer
from services.trainer.metrics import TrainerMetrics
from services.trainer.origin import Origin, find_origin
from services.trainer.publisher import Publisher
from services.trainer.retrieval import LiveRetrieval
from services.trainer.schedule import Cadence

FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 30.0

T = TypeVar("T")

_log = structlog.get_logger(__name__)


def main() -> int:
    """Exit code 0 after SIGTERM, 1 if training cannot go on, 2 for unusable settings."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = load_settings()
        set_up(settings, "trainer")
        device = start_compute(settings)
        run(settings, device, stop, TrainerMetrics())
    except BadSettings as error:
        sys.stderr.write(f"trainer: {error.message}\n")
        return 2
    except RealmError as error:
        _log.error("trainer_failed", why=error.message)
        sys.stderr.write(f"trainer: {error.message}\n")
        return 1
    return 0


def start_compute(settings: Settings) -> torch.device:
    """:raises BadSettings: if the device is absent."""
    set_threads(settings.threads)
    torch.manual_seed(settings.seed)
    return pick_device(settings.device)


def run(
    settings: Settings, device: torch.device, stop: threading.Event, metrics: TrainerMetrics
) -> None:
    """Publishes the base if the store lacks it, then trains (or idles) until `stop` is set."""
    store = Store.open(settings.store_url, settings.store_cache)
    snapshots = Snapshots(store)
    origin = _patiently(stop, lambda: find_origin(settings, Checkpoints(store), snapshots))
    if origin is None:
        return
    nudge = Nudge(settings.redis_url)
    cadence = Cadence(
        settings.snapshot_every_steps, settings.snapshot_min_seconds, origin.step, time.monotonic()
    )
    publisher = Publisher(snapshots, cadence, metrics, nudge.send)
    try:
        if origin.unpublished:
            _patiently(stop, lambda: publisher.publish_now(origin.model, origin.step))
        if settings.train:
            _train(settings, store, origin, publisher, device, stop, metrics)
        else:
            _log.info("idles", why="REALM_TRAIN is false")
            stop.wait()
    finally:
        nudge.close()


def _train(
    settings: Settings,
    store: Store,
    origin: Origin,
    publisher: Publisher,
    device: torch.device,
    stop: threading.Event,
    metrics: TrainerMetrics,
) -> None:
    model = origin.model
    model.retriever.to(device)
    model.reader.to(device)
    index = PassageIndex(settings)
    retrieval = LiveRetrieval(
        Generations(store),
        Snapshots(store),
        index,
        model.inputs,
        device,
        poll_seconds=settings.live_poll_seconds,
    )
    curriculum = make_curriculum(settings, origin, retrieval)
    trainer = Trainer(settings, store, curriculum, publisher, retrieval, metrics, origin.checkpoint)
    try:
        trainer.run(stop)
    finally:
        index.close()


def make_curriculum(settings: Settings, origin: Origin, search: CandidateSearch) -> Curriculum:
    """Model, learner and both objectives, by the settings."""
    inputs = origin.model.inputs
    inverse_cloze = InverseCloze(
        inputs,
        batch_size=settings.inverse_cloze_batch,
        removal_share=settings.trivial_removal_share,
        passage_tokens=settings.train_passage_tokens,
    )
    masked_lm = MaskedLM(
        inputs,
        RuleTagger(),
        search,
        batch_size=settings.masked_lm_batch,
        candidates=settings.candidates,
        passage_tokens=settings.train_passage_tokens,
    )
    learner = Learner(origin.model, settings, origin.step)
    return Curriculum(origin.model, learner, inverse_cloze, masked_lm, settings)


def _patiently(stop: threading.Event, work: Callable[[], T]) -> T | None:
    """Tries again, ever more slowly, while a dependency is missing; None if stopped meanwhile."""
    pause = FIRST_RETRY_SECONDS
    while not stop.is_set():
        try:
            return work()
        except DependencyUnavailable as error:
            _log.warning("dependency_missing", why=error.message, retry_seconds=pause)
            stop.wait(pause)
            pause = min(2 * pause, LONGEST_RETRY_SECONDS)
    return None
