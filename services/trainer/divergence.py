"""Trains from where there is something to begin with, and again from there when it diverges."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import structlog
import torch

from realm.errors import Diverged, FailedPrecondition
from realm.model.checkpoint import Model
from realm.objectives.candidates import TrainingSearch, WordSearch
from realm.objectives.objective import Objective, ObjectiveSetup, chosen_objectives, make_objectives
from realm.objectives.sources import Questions, load_questions
from realm.objectives.taggers import make_tagger
from realm.records.generations import Generations
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from realm.search.vector_index import VectorIndex, open_index
from realm.settings import Settings
from realm.training.auxiliary import WithAuxiliaryLM
from realm.training.distributed import ALONE, World
from realm.training.learner import Learner
from realm.training.schedules import auxiliary_weight
from services.trainer.checkpoints import Checkpoint, Checkpoints
from services.trainer.curriculum import Curriculum
from services.trainer.heartbeat import Heartbeat
from services.trainer.loop import Trainer
from services.trainer.metrics import TrainerMetrics
from services.trainer.origin import Origin, find_origin
from services.trainer.patience import patiently
from services.trainer.publisher import Publisher
from services.trainer.questions import QuestionWatch
from services.trainer.ranks import Fellow, SharedSearch
from services.trainer.retrieval import LiveRetrieval
from services.trainer.tensorboard import Board

SLOWER = 0.5  # what a divergence makes of every rate

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Attempts:
    """Divergences in a row: those that a checkpoint made since then does not lie between.

    :param most: so many are followed by another attempt.
    """

    most: int
    count: int = 0
    caution: float = 1.0
    begun_at: int = -1

    def failed(self, error: Diverged, begun_at: int, caution: float) -> None:
        """Halves the rates for the next attempt.

        :param begun_at: the step that the failed attempt began at.
        :param caution: the factor on its rates.
        :raises Diverged: if there have been enough.
        """
        self.count = 1 if begun_at > self.begun_at else self.count + 1
        self.begun_at = begun_at
        self.caution = caution * SLOWER
        if self.count > self.most:
            raise Diverged(
                f"{error.message}. Training diverged {self.count} times, the last time at"
                f" {caution:g} of these rates, and has stopped; the last snapshot stays",
                **error.details,
            ) from error


class Training:
    """Everything that the attempts have in common.

    :param publisher: the leader's; the other processes publish nothing.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        publisher: Publisher | None,
        device: torch.device,
        metrics: TrainerMetrics,
        world: World,
        heartbeat: Heartbeat,
    ) -> None:
        self._settings = settings
        self._store = store
        self._publisher = publisher
        self._device = device
        self._metrics = metrics
        self._world = world
        self._heartbeat = heartbeat
        self._checkpoints = Checkpoints(store)
        self._attempts = Attempts(settings.trainer.divergence_retries)
        self._board = Board(settings.trainer.tensorboard_dir if world.leads else "")
        self._questions = Questions()

    def run(self, origin: Origin | None, stop: threading.Event) -> None:
        """Until `stop` is set on the leader.

        :param origin: where to begin; None: look for it.
        :raises Diverged: if lower rates did not help.
        """
        settings = self._settings
        if learns_from_questions(settings):
            name = settings.objectives.train_questions
            loaded = patiently(stop, self._heartbeat, lambda: load_questions(name, self._store))
            self._questions.replace(loaded or ())
        index = open_index(settings)
        try:
            while (found := self._begin(origin, stop)) is not None:
                if self._attempt(found, index, stop):
                    return
                origin = None
        finally:
            self._board.close()
            index.close()

    def _begin(self, origin: Origin | None, stop: threading.Event) -> Origin | None:
        """All processes at one place, or None on all if the leader was stopped."""
        snapshots = Snapshots(self._store)
        if origin is None:
            origin = patiently(
                stop,
                self._heartbeat,
                lambda: find_origin(self._settings, self._checkpoints, snapshots),
            )
        step = self._world.share(origin.step if origin else None)
        if step is None:
            return None
        if origin is None or origin.step != step:
            mine = "nothing" if origin is None else f"step {origin.step}"
            raise FailedPrecondition(
                f"process {self._world.rank} of this training found {mine} to begin with, and the"
                f" leading one step {step}: give them one REALM_STORE_URL and start all again"
            )
        return origin

    def _attempt(self, origin: Origin, index: VectorIndex, stop: threading.Event) -> bool:
        """False if it diverged and may be tried again."""
        model = origin.model
        model.retriever.to(self._device)
        model.reader.to(self._device)
        retrieval = LiveRetrieval(
            Generations(self._store),
            Snapshots(self._store),
            index,
            model.inputs,
            self._device,
            poll_seconds=self._settings.gateway.live_poll_seconds,
            fresh=model.retriever.query
            if self._settings.trainer.retrieval_encoder == "fresh"
            else None,
        )
        search = retrieval if self._world.alone else SharedSearch(self._world, retrieval)
        curriculum = make_curriculum(
            self._settings,
            origin,
            search,
            questions=self._questions,
            words=search,
            world=self._world,
        )
        learner = curriculum.learner
        if origin.checkpoint is not None:
            resume(curriculum, origin.checkpoint)
        if self._attempts.count:
            learner.caution = min(learner.caution, self._attempts.caution)
        learner.follow_leader()
        self._metrics.caution.set(learner.caution)
        try:
            self._take_part(origin, curriculum, retrieval, stop)
        except Diverged as error:
            self._note(error, origin, learner.caution)
            return False
        return True

    def _take_part(
        self,
        origin: Origin,
        curriculum: Curriculum,
        retrieval: LiveRetrieval,
        stop: threading.Event,
    ) -> None:
        if self._publisher is None:
            Fellow(
                self._world,
                self._settings,
                self._store,
                curriculum,
                retrieval,
                origin.checkpoint,
                self._heartbeat.beat,
                self._questions,
            ).run()
            return
        Trainer(
            self._settings,
            self._store,
            curriculum,
            self._publisher,
            retrieval,
            self._metrics,
            origin.checkpoint,
            world=self._world,
            board=self._board,
            questions=self._watch(),
            heartbeat=self._heartbeat,
        ).run(stop)

    def _watch(self) -> QuestionWatch | None:
        if not learns_from_questions(self._settings):
            return None
        return QuestionWatch(
            self._settings.objectives.train_questions, self._store, self._questions
        )

    def _note(self, error: Diverged, origin: Origin, caution: float) -> None:
        """:raises Diverged: if there have been enough."""
        self._metrics.divergences.inc()
        self._attempts.failed(error, origin.step, caution)
        _log.warning(
            "diverged",
            why=error.message,
            goes_back_to=origin.step,
            rate_factor=self._attempts.caution,
        )
        # Twice from one checkpoint: the fault may lie in it.
        if self._world.leads and self._attempts.count > 1 and origin.checkpoint is not None:
            self._checkpoints.forget(origin.step)
        # The others must not look for a checkpoint before it is gone.
        self._world.share(None)


def learns_from_questions(settings: Settings) -> bool:
    return any(chosen.from_questions for chosen in chosen_objectives(settings))


def resume(curriculum: Curriculum, checkpoint: Checkpoint) -> None:
    """Gates, moments, step and rates as they were."""
    curriculum.restore(checkpoint.state["objectives"])
    curriculum.learner.restore(checkpoint.optimizer, checkpoint.step)
    curriculum.learner.caution = checkpoint.state.get("caution", 1.0)


def make_curriculum(
    settings: Settings,
    origin: Origin,
    search: TrainingSearch,
    *,
    questions: Questions | None = None,
    words: WordSearch | None = None,
    world: World = ALONE,
) -> Curriculum:
    """Model, learner and the objectives, by the settings.

    :raises BadSettings: if the tagger cannot be had.
    """
    tagger = make_tagger(settings.objectives.salient_tagger, origin.model.retriever.passage.device)
    setup = ObjectiveSetup(settings, origin.model, search, tagger, questions or Questions(), words)
    objectives = make_objectives(setup)
    learner = Learner(origin.model, settings, origin.step, world)
    if settings.optimizer.auxiliary_lm_weight:
        objectives = [_with_language(one, learner, settings, origin.model) for one in objectives]
    return Curriculum(origin.model, learner, objectives, settings)


def _with_language(
    objective: Objective[Any], learner: Learner, settings: Settings, model: Model
) -> Objective[Any]:
    """An auxiliary LM beside what teaches the reader a task; masked LM is one itself."""
    if not objective.teaches_reader:
        return objective

    def weight() -> float:
        start, half_life = (
            settings.optimizer.auxiliary_lm_weight,
            settings.optimizer.auxiliary_lm_half_life,
        )
        return auxiliary_weight(learner.step + 1, start, half_life)

    return WithAuxiliaryLM(
        objective, model.inputs, texts=settings.objectives.masked_lm_batch, weight=weight
    )
