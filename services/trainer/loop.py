"""The trainer's day: between two steps look at store and index, then learn, publish, save.

Everything slow runs in the background and is taken between two steps. Of several processes this
one leads: what the others have to do at the same time, it tells them (`services.trainer.ranks`).
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import structlog

from realm.errors import Diverged, NotReady, RealmError
from realm.model.checkpoint import copy_model
from realm.records.controls import Controls
from realm.records.generations import Generations
from realm.records.store import Store
from realm.settings import Settings
from realm.training.distributed import ALONE, World
from services.trainer.background import Background
from services.trainer.checkpoints import Checkpoint, Checkpoints
from services.trainer.corpus_view import CorpusView, Sampler, load_view, newest_generation
from services.trainer.curriculum import Curriculum, StepReport
from services.trainer.early_stop import EarlyStop
from services.trainer.heartbeat import Heartbeat
from services.trainer.metrics import TrainerMetrics
from services.trainer.publisher import Publisher
from services.trainer.questions import QuestionWatch
from services.trainer.ranks import tell
from services.trainer.retrieval import LiveRetrieval
from services.trainer.schedule import Cadence
from services.trainer.staleness import IndexSituation, StalenessBound
from services.trainer.tensorboard import Board

LOOK_SECONDS = 2.0  # between two looks for a newer corpus
WAIT_SECONDS = 0.2
SAY_SECONDS = 30.0  # a wait is logged so often
LOG_STEPS = 20
SMOOTHING = 0.9

_log = structlog.get_logger(__name__)


class Trainer:
    """Runs a curriculum until it is told to stop. One thread; `run` returns when all is saved."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        curriculum: Curriculum,
        publisher: Publisher,
        retrieval: LiveRetrieval,
        metrics: TrainerMetrics,
        checkpoint: Checkpoint | None = None,
        *,
        world: World = ALONE,
        board: Board | None = None,
        questions: QuestionWatch | None = None,
        heartbeat: Heartbeat | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._store = store
        self._curriculum = curriculum
        self._publisher = publisher
        self._retrieval = retrieval
        self._metrics = metrics
        self._world = world
        self._board = board or Board("")
        self._questions = questions
        self._heartbeat = heartbeat or Heartbeat("")
        self._early = EarlyStop(settings, metrics, self._board)
        self._clock = clock
        self._generations = Generations(store)
        self._checkpoints = Checkpoints(store)
        self._bound = StalenessBound(settings.trainer.max_index_lag_steps)
        self._sampler: Sampler | None = None
        self._sampled: dict[str, int] = {"epoch": 0, "position": 0}
        self._view: CorpusView | None = None
        self._reading: Background[CorpusView] = Background("read-corpus")
        self._saving: Background[None] = Background("checkpoint")
        step = curriculum.learner.step
        self._save_cadence = Cadence(settings.trainer.checkpoint_every_steps, 0, step, clock())
        self._figures: dict[str, float] = {}
        self._counted: Counter[tuple[str, str]] = Counter()
        self._look_at = self._say_at = 0.0
        self._said = ""
        if checkpoint is not None:
            self._sampled = dict(checkpoint.state["sampler"])
            if "early_stop" in checkpoint.state:
                self._early.restore(checkpoint.state["early_stop"], checkpoint.best)
        metrics.current_step.set(step)

    def run(self, stop: threading.Event) -> None:
        """Trains until `stop` is set, then saves a checkpoint.

        :raises Diverged: if training left the finite numbers; snapshots and checkpoints stay.
        """
        try:
            while not stop.is_set():
                self._heartbeat.beat()
                self._keep_up()
                waiting_for = self._waiting_for()
                if waiting_for:
                    self._wait(stop, waiting_for)
                else:
                    self._step(stop)
        except Diverged:
            self._finish_saving(self._settings.gateway.drain_seconds)
            raise
        tell(self._world, "stop")
        self._publisher.collect(self._settings.gateway.drain_seconds)
        self._finish_saving(self._settings.gateway.drain_seconds)
        if self._curriculum.learner.step > self._save_cadence.last_step:
            self._checkpoints.save(self._checkpoint())
        _log.info("trainer_stopped", step=self._curriculum.learner.step)

    def _step(self, stop: threading.Event) -> None:
        assert self._sampler is not None
        has_index = self._retrieval.live is not None
        tell(self._world, "step", has_index=has_index)
        try:
            report = self._curriculum.step(self._sampler, has_index=has_index)
        except NotReady as error:
            self._wait(stop, error.message)
            return
        self._measure(report)
        if self._early.look(self._curriculum, report.step):
            tell(self._world, "weights")
            self._curriculum.learner.follow_leader()
        self._offer()
        if self._save_cadence.due(report.step, self._clock()) and not self._saving.busy:
            checkpoint = self._checkpoint()
            self._saving.start(lambda: self._checkpoints.save(checkpoint))
            self._save_cadence.happened(report.step, self._clock())

    def _offer(self, *, last: bool = False) -> None:
        step = self._curriculum.learner.step
        self._publisher.offer(self._curriculum.model, step, lambda: dict(self._figures), last=last)

    def _keep_up(self) -> None:
        """Takes what the background has finished; looks for what is new. Never raises for it."""
        self._collect()
        self._finish_saving()
        if self._retrieval.refresh() and self._retrieval.live:
            self._metrics.retrieving_step.set(self._retrieval.live.generation.step)
        if self._questions is not None and (text := self._questions.look()) is not None:
            tell(self._world, "questions", text=text)
        try:
            view = self._reading.take()
            if view is not None:
                self._adopt(view)
            else:
                self._look_for_corpus()
        except RealmError as error:
            _log.warning("passages_not_read", why=error.message)

    def _collect(self) -> None:
        try:
            self._publisher.collect()
        except Diverged as error:
            # Nobody else has seen it: parameters are looked at when they are published.
            tell(self._world, "diverged", why=error.message)
            raise

    def _look_for_corpus(self) -> None:
        now = self._clock()
        if self._reading.busy or now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        fingerprint = self._curriculum.model.inputs.fingerprint
        generation = newest_generation(self._generations, fingerprint)
        known = self._view
        if generation and (known is None or known.files != generation.passage_files):
            found = generation
            self._reading.start(lambda: load_view(self._store, found, known))

    def _adopt(self, view: CorpusView) -> None:
        tell(self._world, "view", files=list(view.files))
        self._sampler = (
            self._sampler.over(view)
            if self._sampler
            else Sampler(view, self._settings.trainer.seed, **self._sampled)
        )
        self._view = view
        self._retrieval.take_ids_from(view)
        self._early.take(view)
        self._metrics.passages.set(len(view.trainable))
        _log.info("passages_read", passages=len(view), trainable=len(view.trainable))

    def _waiting_for(self) -> str | None:
        """In words, what the next step has to wait for; None if nothing."""
        max_steps = self._settings.trainer.max_steps
        if max_steps and self._curriculum.learner.step >= max_steps:
            self._offer(last=True)
            self._metrics.finished.set(1)
            return "the end: REALM_MAX_STEPS is reached"
        if self._early.over:
            self._offer(last=True)
            self._metrics.finished.set(1)
            return self._early.why
        self._metrics.finished.set(0)
        if self._sampler is None:
            return "a generation with passages: import documents"
        if self._bound.max_lag_steps and self._index_is_too_old():
            return "the index: it lags more than REALM_MAX_INDEX_LAG_STEPS"
        return None

    def _index_is_too_old(self) -> bool:
        try:
            too_old = self._bound.must_wait(self._situation())
        except RealmError as error:
            _log.warning("index_not_looked_at", why=error.message)
            return False
        if too_old:
            self._metrics.waiting_seconds.inc(WAIT_SECONDS)
        return too_old

    def _situation(self) -> IndexSituation:
        newest = self._publisher.newest
        entry = self._generations.live()
        live = self._generations.get(entry.generation) if entry else None
        if newest is None or (live and live.snapshot >= newest.number):
            step = live.step if live else 0
            return IndexSituation(step, step, None, paused=False)
        made = [
            number
            for number in self._generations.numbers()
            if self._generations.get(number).snapshot == newest.number
        ]
        return IndexSituation(
            published_step=newest.step,
            live_step=live.step if live else None,
            fate=self._generations.state(made[-1]) if made else None,
            paused=Controls(self._store).paused(),
        )

    def _wait(self, stop: threading.Event, why: str) -> None:
        if why != self._said or self._clock() >= self._say_at:
            self._said, self._say_at = why, self._clock() + SAY_SECONDS
            _log.info("waiting", on=why)
            tell(self._world, "rest")
        stop.wait(WAIT_SECONDS)

    def _checkpoint(self) -> Checkpoint:
        learner = self._curriculum.learner
        state: dict[str, Any] = {
            "seed": self._settings.trainer.seed,
            "sampler": self._sampler.state() if self._sampler else self._sampled,
            "objectives": self._curriculum.state(),
            "early_stop": self._early.state(),
            "caution": learner.caution,
            "snapshot": self._publisher.newest.number if self._publisher.newest else 0,
        }
        model = copy_model(self._curriculum.model)
        return Checkpoint(learner.step, model, learner.state(), state, dict(self._early.best))

    def _finish_saving(self, seconds: float = 0.0) -> None:
        try:
            if seconds:
                self._saving.wait(seconds)
            else:
                self._saving.take()
        except RealmError as error:
            _log.warning("checkpoint_not_saved", why=error.message)

    def _measure(self, report: StepReport) -> None:
        metrics, objective = self._metrics, report.objective
        metrics.steps.labels(objective).inc()
        metrics.current_step.set(report.step)
        metrics.loss.labels(objective).set(report.figures["loss"])
        rate = {"rate_factor": self._curriculum.learner.rate_factor(report.step)}
        self._board.write(objective, report.figures | rate, report.step)
        for phase, seconds in report.seconds.items():
            metrics.step_seconds.labels(phase).observe(seconds)
        if report.fallback:
            metrics.fallbacks.labels(report.fallback).inc()
        for name, figure in report.figures.items():
            key = name if name == "retrieval_utility" else f"{objective}_{name}"
            before = self._figures.get(key, figure)
            self._figures[key] = SMOOTHING * before + (1 - SMOOTHING) * figure
        if "retrieval_utility" in report.figures:
            metrics.retrieval_utility.set(self._figures["retrieval_utility"])
        self._count_skipped()
        if report.step % LOG_STEPS == 0:
            rounded = {name: round(figure, 4) for name, figure in self._figures.items()}
            _log.info("trained", step=report.step, **rounded)

    def _count_skipped(self) -> None:
        for objective in self._curriculum.objectives:
            for reason, total in objective.skipped.items():
                more = total - self._counted[objective.name, reason]
                self._metrics.skipped.labels(objective.name, reason).inc(more)
                self._counted[objective.name, reason] = total
