"""A whole training: starts from the newest usable state, again at lower rates if it diverges."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from realm.errors import Diverged, FailedPrecondition
from realm.model.checkpoint import Model
from realm.objectives.auxiliary_lm import WithAuxiliaryLM
from realm.objectives.candidates import TrainingSearch
from realm.objectives.objective import Objective, ObjectiveSetup, chosen_objectives, make_objectives
from realm.objectives.sources import Questions, load_questions
from realm.objectives.taggers import make_tagger
from realm.records.snapshots import Snapshot, Snapshots
from realm.search.vector_index import VectorIndex, open_index
from realm.settings import Settings
from realm.training.distributed import ALONE, World
from realm.training.learner import Learner
from realm.training.optimizer import auxiliary_weight
from services.trainer.checkpoints import (
    Checkpoint,
    Checkpoints,
    Origin,
    find_origin,
    load_adapters_into,
    origin_of,
)
from services.trainer.context import TrainingContext, retry_while_unavailable
from services.trainer.data import QuestionWatch
from services.trainer.loop import Trainer
from services.trainer.publisher import Publisher
from services.trainer.ranks import SharedSearch, WorkerRank
from services.trainer.retrieval import LiveRetrieval
from services.trainer.step import StepRunner

SLOWER = 0.5  # factor on every learning rate at each divergence

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class DivergenceRetries:
    """Counts divergences in a row: those without a newer checkpoint in between.

    :param most: how many are retried.
    """

    most: int
    count: int = 0
    lr_scale: float = 1.0
    started_at: int = -1

    def record(self, error: Diverged, started_at: int, lr_scale: float) -> None:
        """Halves the rates for the next attempt.

        :param started_at: the step that the failed attempt started at.
        :param lr_scale: the factor on its rates.
        :raises Diverged: if no retry is left.
        """
        self.count = 1 if started_at > self.started_at else self.count + 1
        self.started_at = started_at
        self.lr_scale = lr_scale * SLOWER
        if self.count > self.most:
            raise Diverged(
                f"{error.message}. Training diverged {self.count} times, the last time at"
                f" {lr_scale:g} of these rates, and has stopped; the last snapshot stays",
                **error.details,
            ) from error


class TrainingRun:
    """Trains until stopped, over as many attempts as divergence allows, and on from the models that
    others publish.

    :param publisher: the leader's; the worker ranks publish nothing.
    """

    def __init__(self, context: TrainingContext, publisher: Publisher | None) -> None:
        self._context = context
        self._settings = context.settings
        self._publisher = publisher
        self._checkpoints = Checkpoints(context.store)
        self._retries = DivergenceRetries(context.settings.trainer.divergence_retries)
        self._questions = Questions()
        #: Another's snapshot to go on from.
        self._follow: int | None = None
        self._learns_from_questions = any(
            objective.from_questions for objective in chosen_objectives(context.settings)
        )

    def run(self, origin: Origin | None, stop: threading.Event) -> None:
        """Until `stop` is set on the leader.

        :param origin: where to begin; None: look for it.
        :raises Diverged: if lower rates did not help.
        """
        context, name = self._context, self._settings.objectives.train_questions
        if self._learns_from_questions:
            loaded = retry_while_unavailable(
                stop, context.heartbeat, lambda: load_questions(name, context.store)
            )
            self._questions.replace(loaded or ())
        index = open_index(self._settings)
        try:
            while (found := self._common_origin(origin, stop)) is not None:
                if self._attempt(found, index, stop):
                    return
                origin = None
        finally:
            context.board.close()
            index.close()

    def _common_origin(self, origin: Origin | None, stop: threading.Event) -> Origin | None:
        """Where all processes begin, or None on all if the leader was stopped."""
        world, heartbeat = self._context.world, self._context.heartbeat
        follow, self._follow = self._follow, None
        if origin is None:
            find = partial(self._find_origin, follow)
            origin = retry_while_unavailable(stop, heartbeat, find)
            if follow is not None and origin is not None and self._publisher is not None:
                publish_origin(self._context, self._publisher, origin, stop)
        leading = world.share([origin.step, origin.snapshot] if origin else None)
        if leading is None:
            return None
        if origin is None or [origin.step, origin.snapshot] != leading:
            mine = "nothing" if origin is None else _described(origin.step, origin.snapshot)
            raise FailedPrecondition(
                f"process {world.rank} of this training found {mine} to begin with, and the"
                f" leading one {_described(*leading)}: give them one REALM_STORE_URL and start all"
                " again"
            )
        return origin

    def _find_origin(self, follow: int | None) -> Origin:
        snapshots = Snapshots(self._context.store)
        if follow is None:
            return find_origin(self._settings, self._checkpoints, snapshots)
        return origin_of(self._settings, snapshots, follow)

    def _attempt(self, origin: Origin, index: VectorIndex, stop: threading.Event) -> bool:
        """False if it diverged and may be tried again, or another's model is to be followed."""
        context, model = self._context, origin.model
        model.retriever.to(context.device)
        model.reader.to(context.device)
        retrieval = LiveRetrieval(
            context.store,
            index,
            model.inputs,
            context.device,
            poll_seconds=self._settings.gateway.live_poll_seconds,
            fresh=model.retriever.query
            if self._settings.trainer.retrieval_encoder == "fresh"
            else None,
        )
        search = retrieval if context.world.alone else SharedSearch(context.world, retrieval)
        runner = make_runner(
            self._settings,
            origin,
            search,
            questions=self._questions,
            world=context.world,
        )
        learner = runner.learner
        if origin.checkpoint is not None:
            resume(runner, origin.checkpoint)
        if self._retries.count:
            learner.lr_scale = min(learner.lr_scale, self._retries.lr_scale)
        learner.follow_leader()
        context.metrics.lr_scale.set(learner.lr_scale)
        try:
            self._follow = self._train(origin, runner, retrieval, stop)
        except Diverged as error:
            self._record_divergence(error, origin, learner.lr_scale)
            return False
        return self._follow is None

    def _train(
        self,
        origin: Origin,
        runner: StepRunner,
        retrieval: LiveRetrieval,
        stop: threading.Event,
    ) -> int | None:
        """The number of another's snapshot to go on from; None: it was stopped."""
        context, checkpoint = self._context, origin.checkpoint
        if self._publisher is None:
            return WorkerRank(context, runner, retrieval, checkpoint, self._questions).run()
        watch = None
        if self._learns_from_questions:
            name = self._settings.objectives.train_questions
            watch = QuestionWatch(name, context.store, self._questions)
        trainer = Trainer(context, runner, self._publisher, retrieval, checkpoint, questions=watch)
        followed = trainer.run(stop)
        if followed is None:
            return None
        self._publisher.follow(followed)
        self._retries = DivergenceRetries(self._settings.trainer.divergence_retries)
        return followed.number

    def _record_divergence(self, error: Diverged, origin: Origin, lr_scale: float) -> None:
        """:raises Diverged: if no retry is left."""
        context = self._context
        context.metrics.divergences.inc()
        self._retries.record(error, origin.step, lr_scale)
        _log.warning(
            "diverged",
            why=error.message,
            goes_back_to=origin.step,
            lr_scale=self._retries.lr_scale,
        )
        # Twice from one checkpoint: the fault may lie in it.
        if context.world.leads and self._retries.count > 1 and origin.checkpoint is not None:
            self._checkpoints.forget(origin.step)
        # A barrier: the others must not look for a checkpoint before it is gone.
        context.world.share(None)


def publish_origin(
    context: TrainingContext, publisher: Publisher, origin: Origin, stop: threading.Event
) -> Snapshot | None:
    """Publishes the model that training begins with if the store lacks it; None if it does not."""
    if not origin.unpublished:
        return None
    return retry_while_unavailable(
        stop,
        context.heartbeat,
        lambda: publisher.publish_now(origin.model, origin.step, from_base=origin.from_base),
    )


def _described(step: int | None, snapshot: int | None) -> str:
    return f"step {step} of " + ("the base" if snapshot is None else f"snapshot {snapshot}")


def resume(runner: StepRunner, checkpoint: Checkpoint) -> None:
    """Restores gates, moments, step and rates."""
    if checkpoint.adapters:
        load_adapters_into(runner.model, checkpoint.adapters)
    runner.restore(checkpoint.state["objectives"])
    runner.learner.restore(checkpoint.optimizer, checkpoint.step)
    runner.learner.lr_scale = checkpoint.state.get("caution", 1.0)


def make_runner(
    settings: Settings,
    origin: Origin,
    search: TrainingSearch,
    *,
    questions: Questions | None = None,
    world: World = ALONE,
) -> StepRunner:
    """Model, learner and the objectives, by the settings.

    :raises BadSettings: if the tagger is not available.
    """
    tagger = make_tagger(settings.objectives.salient_tagger, origin.model.retriever.passage.device)
    setup = ObjectiveSetup(settings, origin.model, search, tagger, questions or Questions())
    objectives = make_objectives(setup)
    learner = Learner(origin.model, settings, origin.step, world)
    if settings.optimizer.auxiliary_lm_weight:
        objectives = [
            _with_auxiliary_lm(one, learner, settings, origin.model) if one.teaches_reader else one
            for one in objectives
        ]
    return StepRunner(origin.model, learner, objectives, settings)


def _with_auxiliary_lm(
    objective: Objective[Any], learner: Learner, settings: Settings, model: Model
) -> Objective[Any]:
    def weight() -> float:
        start, half_life = (
            settings.optimizer.auxiliary_lm_weight,
            settings.optimizer.auxiliary_lm_half_life,
        )
        return auxiliary_weight(learner.step + 1, start, half_life)

    return WithAuxiliaryLM(
        objective, model.inputs, texts=settings.objectives.masked_lm_batch, weight=weight
    )
