"""How the processes of one training stay in step: rank 0 leads, the worker ranks follow.

The leader alone polls store and index. It broadcasts commands, which every process carries out at
the same time, and search results, so that all make the same batch.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Literal

import numpy as np

from realm.errors import DependencyUnavailable, Diverged, NotFound, NotReady, RealmError
from realm.objectives.candidates import Asked, Beam, Candidate
from realm.objectives.sources import Questions, parse_questions_file
from realm.retrieval import Retrieval
from realm.training.distributed import World
from services.trainer.checkpoints import Checkpoint
from services.trainer.context import TrainingContext
from services.trainer.data import TrainingPassages, read_view
from services.trainer.retrieval import LiveRetrieval
from services.trainer.step import StepRunner

Command = Literal["step", "view", "questions", "weights", "rest", "follow", "diverged", "stop"]

#: Search errors that a step falls back from: they are broadcast, and raised on every process.
_SHARED_ERRORS: tuple[type[RealmError], ...] = (DependencyUnavailable, NotFound, NotReady)


class SharedSearch:
    """A `TrainingSearch` whose leader asks; every process gets the answer."""

    def __init__(self, world: World, own: LiveRetrieval) -> None:
        self._world = world
        self._own = own

    def search(
        self, asked: Sequence[Asked], limit: int, way: Retrieval = Retrieval.HYBRID
    ) -> list[list[Candidate]]:
        """:raises DependencyUnavailable, NotFound, NotReady: as the leader's does."""
        shared = self._ask(
            lambda: [[asdict(one) for one in own] for own in self._own.search(asked, limit, way)]
        )
        return [[Candidate(**one) for one in found] for found in shared]

    def beams(self, asked: Sequence[Asked], limit: int) -> list[Beam]:
        """:raises DependencyUnavailable, NotFound, NotReady: as the leader's does."""
        shared = self._ask(lambda: [_beam_as_json(one) for one in self._own.beams(asked, limit)])
        return [_beam_from_json(one) for one in shared]

    def of_document(self, document_id: str) -> list[Candidate]:
        """No search: every process holds the same passages."""
        return self._own.of_document(document_id)

    def _ask(self, ask: Callable[[], list[Any]]) -> list[Any]:
        answer: dict[str, Any] = {}
        if self._world.leads:
            try:
                answer = {"found": ask()}
            except _SHARED_ERRORS as error:
                answer = {"fault": error.reason, "message": error.message}
        answer = self._world.share(answer)
        for kind in _SHARED_ERRORS:
            if answer.get("fault") == kind.reason:
                raise kind(answer["message"])
        found: list[Any] = answer["found"]
        return found


class WorkerRank:
    """A process that does what the leader says, on its share of the rows."""

    def __init__(
        self,
        context: TrainingContext,
        runner: StepRunner,
        retrieval: LiveRetrieval,
        checkpoint: Checkpoint | None,
        questions: Questions,
    ) -> None:
        self._context = context
        self._runner = runner
        self._retrieval = retrieval
        self._questions = questions
        saved = checkpoint.state["sampler"] if checkpoint else None
        self._passages = TrainingPassages(context.settings.trainer.seed, saved)

    def run(self) -> int | None:
        """Until the leader says stop, or tells the number of the snapshot to go on from.

        :raises Diverged: when it does on the leader.
        :raises DependencyUnavailable: if the leader is gone.
        """
        while True:
            self._context.heartbeat.beat()
            received: dict[str, Any] = self._context.world.share({})
            match received["command"]:
                case "stop":
                    return None
                case "follow":
                    return int(received["snapshot"])
                case "diverged":
                    raise Diverged(received["why"])
                case "view":
                    files = tuple(received["files"])
                    view = read_view(self._context.store, files, self._passages.view)
                    self._passages.adopt(view)
                    self._retrieval.take_ids_from(view)
                case "questions":
                    name = self._context.settings.objectives.train_questions
                    self._questions.replace(parse_questions_file(received["text"].encode(), name))
                case "weights":
                    self._runner.learner.follow_leader()
                case "step":
                    self._step(has_index=received["has_index"])

    def _step(self, *, has_index: bool) -> None:
        assert self._passages.sampler is not None
        # The leader meets the same error, logs it and waits.
        with suppress(NotReady):
            self._runner.step(self._passages.sampler, has_index=has_index)


def broadcast(world: World, command: Command, **arguments: object) -> None:
    """Sends the leader's command to all worker ranks."""
    world.share({"command": command, **arguments})


def _beam_as_json(beam: Beam) -> dict[str, Any]:
    vectors = np.ascontiguousarray(beam.vectors, dtype=np.float32)
    return {
        "passage_ids": beam.passage_ids,
        "document_ids": beam.document_ids,
        "texts": beam.texts,
        "shape": vectors.shape,
        "vectors": base64.b64encode(vectors.tobytes()).decode(),
        "words": beam.words.tolist(),
    }


def _beam_from_json(shared: dict[str, Any]) -> Beam:
    flat = np.frombuffer(base64.b64decode(shared["vectors"]), dtype=np.float32)
    vectors = flat.reshape(shared["shape"])
    words = np.array(shared["words"], np.float32)
    return Beam(shared["passage_ids"], shared["document_ids"], shared["texts"], vectors, words)
