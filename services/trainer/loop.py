"""Main training loop: between two steps it polls store and index; then it trains, publishes, saves.

Everything slow runs in the background and is taken between two steps. The leading process of a
training runs this loop and tells the others what to do at the same time (`services.trainer.ranks`).
Bounded staleness makes training wait while the live index lags too far behind.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from realm.errors import Diverged, NotReady, RealmError
from realm.model.checkpoint import copy_model
from realm.records.controls import Controls
from realm.records.generations import Generations
from realm.records.snapshots import Snapshot, steps_behind
from realm.records.states import IN_PROGRESS, State
from realm.records.store import Store
from services.trainer.checkpoints import Checkpoint, Checkpoints, lora
from services.trainer.context import Background, Cadence, TrainingContext
from services.trainer.data import (
    CorpusView,
    QuestionWatch,
    TrainingPassages,
    newest_generation,
    read_view,
    state_of_snapshot,
)
from services.trainer.early_stop import EarlyStop
from services.trainer.other_models import OtherModels
from services.trainer.publisher import Publisher
from services.trainer.ranks import broadcast
from services.trainer.retrieval import LiveRetrieval
from services.trainer.step import StepRecorder, StepRunner

POLL_CORPUS_SECONDS = 2.0
WAIT_SECONDS = 0.2
LOG_WAIT_SECONDS = 30.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class IndexSituation:
    """What is published and what is live.

    `newest_state` is of the newest generation made from the newest snapshot, None before there is
    one; `live_step` is None before vectors are live.
    """

    published_step: int
    live_step: int | None
    newest_state: State | None
    paused: bool

    @property
    def may_improve(self) -> bool:
        """Whether the newest snapshot can still become live."""
        return not self.paused and self.newest_state in IN_PROGRESS

    def exceeds(self, max_lag_steps: int) -> bool:
        """Whether to wait: only while the newest snapshot can still become live."""
        if not max_lag_steps or not self.may_improve:
            return False
        return steps_behind(self.published_step, self.live_step or 0) > max_lag_steps

    @property
    def lacks_vectors(self) -> bool:
        """Whether the first vectors are on their way, so that they should be waited for."""
        return self.live_step is None and self.may_improve


def index_situation(
    store: Store, generations: Generations, newest: Snapshot | None
) -> IndexSituation:
    """:param newest: the newest published snapshot."""
    entry = generations.live()
    live = generations.get(entry.generation) if entry else None
    live = None if live and live.words_alone else live
    if newest is None or (live and live.snapshot >= newest.number):
        step = live.step if live else 0
        return IndexSituation(step, step, None, paused=False)
    return IndexSituation(
        published_step=newest.step,
        live_step=live.step if live else None,
        newest_state=state_of_snapshot(generations, newest.number),
        paused=Controls(store).paused(),
    )


class Trainer:
    """Runs steps until it is told to stop. One thread; `run` returns when all is saved."""

    def __init__(
        self,
        context: TrainingContext,
        runner: StepRunner,
        publisher: Publisher,
        retrieval: LiveRetrieval,
        checkpoint: Checkpoint | None = None,
        *,
        questions: QuestionWatch | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context = context
        self._settings = context.settings
        self._metrics = context.metrics
        self._broadcast = partial(broadcast, context.world)
        self._runner = runner
        self._publisher = publisher
        self._retrieval = retrieval
        self._questions = questions
        self._clock = clock
        self._recorder = StepRecorder(context.metrics, context.board)
        newest = publisher.newest
        self._others = OtherModels(context.store, newest.number if newest else 0, clock)
        self._early_stop = EarlyStop(context.settings, context.metrics, context.board)
        self._generations = Generations(context.store)
        self._checkpoints = Checkpoints(context.store)
        saved = checkpoint.state if checkpoint else {}
        self._passages = TrainingPassages(context.settings.trainer.seed, saved.get("sampler"))
        if checkpoint and "early_stop" in saved:
            self._early_stop.restore(saved["early_stop"], checkpoint.best)
        self._reading: Background[CorpusView] = Background("read-corpus")
        self._saving: Background[None] = Background("checkpoint")
        step = runner.learner.step
        self._save_cadence = Cadence(
            self._settings.trainer.checkpoint_every_steps, 0, step, clock()
        )
        self._poll_corpus_at = self._log_wait_at = 0.0
        self._waited_for = ""
        context.metrics.current_step.set(step)

    def run(self, stop: threading.Event) -> Snapshot | None:
        """Trains until `stop` is set, then saves a checkpoint; or until another's model is live,
        which is returned, to go on from it.

        :raises Diverged: if loss or parameters are not finite; snapshots and checkpoints stay.
        """
        try:
            while not stop.is_set():
                self._context.heartbeat.beat()
                if (other := self._others.poll()) is not None:
                    self._broadcast("follow", snapshot=other.number)
                    self._finish_saving(self._settings.gateway.drain_seconds)
                    return other
                self._poll()
                if waiting_for := self._waiting_for():
                    self._wait(stop, waiting_for)
                else:
                    self._step(stop)
        except Diverged:
            self._finish_saving(self._settings.gateway.drain_seconds)
            raise
        self._broadcast("stop")
        self._publisher.collect(self._settings.gateway.drain_seconds)
        self._finish_saving(self._settings.gateway.drain_seconds)
        if self._runner.learner.step > self._save_cadence.last_step:
            self._checkpoints.save(self._checkpoint())
        _log.info("trainer_stopped", step=self._runner.learner.step)
        return None

    def _step(self, stop: threading.Event) -> None:
        assert self._passages.sampler is not None
        has_index = self._retrieval.live is not None
        self._broadcast("step", has_index=has_index)
        try:
            report = self._runner.step(self._passages.sampler, has_index=has_index)
        except NotReady as error:
            self._wait(stop, error.message)
            return
        self._recorder.record(report, self._runner)
        if self._early_stop.evaluate(self._runner, report.step):
            self._broadcast("weights")
            self._runner.learner.follow_leader()
        self._offer_snapshot()
        if self._save_cadence.due(report.step, self._clock()) and not self._saving.busy:
            checkpoint = self._checkpoint()
            self._saving.start(lambda: self._checkpoints.save(checkpoint))
            self._save_cadence.happened(report.step, self._clock())

    def _offer_snapshot(self, *, last: bool = False) -> None:
        averages = self._recorder.averages
        step = self._runner.learner.step
        self._publisher.offer(
            self._runner.model,
            step,
            lambda: dict(averages),
            unless=self._others.on_the_way,
            last=last,
        )

    def _poll(self) -> None:
        """Takes finished background work and looks for what is new.

        :raises Diverged: if what was to be published is not finite.
        """
        try:
            published = self._publisher.collect()
        except Diverged as error:
            # Only the leader publishes, so only it has seen this.
            self._broadcast("diverged", why=error.message)
            raise
        if published and published.parent is None:
            self._others.began_with(published.number)
        self._finish_saving()
        if self._retrieval.refresh() and self._retrieval.live:
            self._metrics.retrieving_step.set(self._retrieval.live.generation.step)
        if self._questions is not None and (text := self._questions.poll()) is not None:
            self._broadcast("questions", text=text)
        try:
            view = self._reading.take()
            if view is not None:
                self._adopt(view)
            else:
                self._poll_corpus()
        except RealmError as error:
            _log.warning("passages_not_read", why=error.message)

    def _poll_corpus(self) -> None:
        now = self._clock()
        if self._reading.busy or now < self._poll_corpus_at:
            return
        self._poll_corpus_at = now + POLL_CORPUS_SECONDS
        fingerprint = self._runner.model.inputs.fingerprint
        generation = newest_generation(self._generations, fingerprint)
        known = self._passages.view
        if generation and (known is None or known.files != generation.passage_files):
            files = generation.passage_files
            self._reading.start(lambda: read_view(self._context.store, files, known))

    def _adopt(self, view: CorpusView) -> None:
        self._broadcast("view", files=list(view.files))
        self._passages.adopt(view)
        self._retrieval.take_ids_from(view)
        self._early_stop.use(view)
        self._metrics.passages.set(len(view.trainable))
        _log.info("passages_read", passages=len(view), trainable=len(view.trainable))

    def _waiting_for(self) -> str | None:
        """In words, what the next step has to wait for; None if nothing."""
        max_steps = self._settings.trainer.max_steps
        end = None
        if max_steps and self._runner.learner.step >= max_steps:
            end = "the end: REALM_MAX_STEPS is reached"
        elif self._early_stop.over:
            end = self._early_stop.why
        self._metrics.finished.set(end is not None)
        if end is not None:
            self._offer_snapshot(last=True)
            return end
        if self._passages.sampler is None:
            return "a generation with passages: import documents"
        if (why := self._waiting_for_index()) is not None:
            self._metrics.waiting_seconds.inc(WAIT_SECONDS)
        return why

    def _waiting_for_index(self) -> str | None:
        max_lag_steps = self._settings.trainer.max_index_lag_steps
        after_index = self._settings.trainer.train_after_index and self._retrieval.live is None
        if not max_lag_steps and not after_index:
            return None
        store, newest = self._context.store, self._publisher.newest
        try:
            situation = index_situation(store, self._generations, newest)
        except RealmError as error:
            _log.warning("index_lag_unknown", why=error.message)
            return None
        if after_index and situation.lacks_vectors:
            return "the first vectors: REALM_TRAIN_AFTER_INDEX is set"
        if situation.exceeds(max_lag_steps):
            return "the index: it lags more than REALM_MAX_INDEX_LAG_STEPS"
        return None

    def _wait(self, stop: threading.Event, why: str) -> None:
        if why != self._waited_for or self._clock() >= self._log_wait_at:
            self._waited_for, self._log_wait_at = why, self._clock() + LOG_WAIT_SECONDS
            _log.info("waiting", on=why)
            self._broadcast("rest")
        stop.wait(WAIT_SECONDS)

    def _checkpoint(self) -> Checkpoint:
        learner, newest = self._runner.learner, self._publisher.newest
        state: dict[str, Any] = {
            "seed": self._settings.trainer.seed,
            "sampler": self._passages.state(),
            "objectives": self._runner.state(),
            "early_stop": self._early_stop.state(),
            "caution": learner.lr_scale,
            "snapshot": newest.number if newest else 0,
            "lora": lora(self._settings),
        }
        model = copy_model(self._runner.model)
        return Checkpoint(learner.step, model, learner.state(), state, dict(self._early_stop.best))

    def _finish_saving(self, wait_seconds: float = 0.0) -> None:
        try:
            self._saving.take(wait_seconds)
        except RealmError as error:
            _log.warning("checkpoint_not_saved", why=error.message)
