"""What the processes of one training tell each other: the leader decides, the others follow.

The leader alone looks at store and index. It says what comes next, and each process does it at the
same time; what a search found is told too, so that all make the same batch.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np

from realm.errors import DependencyUnavailable, Diverged, NotFound, NotReady, RealmError
from realm.model.inputs import Encoded
from realm.objectives.candidates import Beam, Candidate
from realm.objectives.sources import Questions, parse_questions_file
from realm.records.store import Store
from realm.settings import Settings
from realm.training.distributed import World
from services.trainer.checkpoints import Checkpoint
from services.trainer.corpus_view import CorpusView, Sampler, read_view
from services.trainer.curriculum import Curriculum
from services.trainer.retrieval import LiveRetrieval

Order = Literal["step", "view", "questions", "weights", "rest", "diverged", "stop"]

#: Faults of a search that a step is made without: they are told, and raised on every process.
_TOLD: tuple[type[RealmError], ...] = (DependencyUnavailable, NotFound, NotReady)


class SharedSearch:
    """A `TrainingSearch` and `WordSearch` whose leader asks; every process gets the answer."""

    def __init__(self, world: World, own: LiveRetrieval) -> None:
        self._world = world
        self._own = own

    def search(self, queries: Sequence[Encoded], limit: int) -> list[list[Candidate]]:
        """:raises DependencyUnavailable, NotFound, NotReady: as the leader's does."""
        return self._candidates(lambda: self._own.search(queries, limit))

    def search_words(self, questions: Sequence[str], limit: int) -> list[list[Candidate]]:
        """:raises DependencyUnavailable, NotFound, NotReady: as the leader's does."""
        return self._candidates(lambda: self._own.search_words(questions, limit))

    def beams(self, queries: Sequence[Encoded], limit: int) -> list[Beam]:
        """:raises DependencyUnavailable, NotFound, NotReady: as the leader's does."""
        told = self._ask(lambda: [_beam_as_json(one) for one in self._own.beams(queries, limit)])
        return [_beam_from_json(one) for one in told]

    def of_document(self, document_id: str) -> list[Candidate]:
        """No search: every process holds the same passages."""
        return self._own.of_document(document_id)

    def _candidates(self, ask: Callable[[], list[list[Candidate]]]) -> list[list[Candidate]]:
        told = self._ask(lambda: [[asdict(one) for one in found] for found in ask()])
        return [[Candidate(**one) for one in found] for found in told]

    def _ask(self, ask: Callable[[], list[Any]]) -> list[Any]:
        answer: dict[str, Any] = {}
        if self._world.leads:
            try:
                answer = {"found": ask()}
            except _TOLD as error:
                answer = {"fault": error.reason, "message": error.message}
        answer = self._world.share(answer)
        for kind in _TOLD:
            if answer.get("fault") == kind.reason:
                raise kind(answer["message"])
        found: list[Any] = answer["found"]
        return found


class Fellow:
    """A process that does what the leader says, on its share of the rows."""

    def __init__(
        self,
        world: World,
        settings: Settings,
        store: Store,
        curriculum: Curriculum,
        retrieval: LiveRetrieval,
        checkpoint: Checkpoint | None,
        beat: Callable[[], None],
        questions: Questions,
    ) -> None:
        self._world = world
        self._settings = settings
        self._store = store
        self._curriculum = curriculum
        self._retrieval = retrieval
        self._beat = beat
        self._questions = questions
        self._view: CorpusView | None = None
        self._sampler: Sampler | None = None
        self._sampled = {"epoch": 0, "position": 0}
        if checkpoint is not None:
            self._sampled = dict(checkpoint.state["sampler"])

    def run(self) -> None:
        """Until the leader says stop.

        :raises Diverged: when it does on the leader.
        :raises DependencyUnavailable: if the leader is gone.
        """
        while True:
            self._beat()
            order: dict[str, Any] = self._world.share({})
            match order["do"]:
                case "stop":
                    return
                case "diverged":
                    raise Diverged(order["why"])
                case "view":
                    self._adopt(tuple(order["files"]))
                case "questions":
                    name = self._settings.objectives.train_questions
                    self._questions.replace(parse_questions_file(order["text"].encode(), name))
                case "weights":
                    self._curriculum.learner.follow_leader()
                case "step":
                    self._step(has_index=order["has_index"])

    def _adopt(self, files: tuple[str, ...]) -> None:
        self._view = read_view(self._store, files, self._view)
        self._sampler = (
            self._sampler.over(self._view)
            if self._sampler
            else Sampler(self._view, self._settings.trainer.seed, **self._sampled)
        )
        self._retrieval.take_ids_from(self._view)

    def _step(self, *, has_index: bool) -> None:
        assert self._sampler is not None
        try:
            self._curriculum.step(self._sampler, has_index=has_index)
        except NotReady:
            # The leader met it too, says so, and waits.
            return


def tell(world: World, order: Order, **more: object) -> None:
    """What the leader says; in a world of one nobody listens."""
    world.share({"do": order, **more})


def _beam_as_json(beam: Beam) -> dict[str, Any]:
    vectors = np.ascontiguousarray(beam.vectors, dtype=np.float32)
    return {
        "passage_ids": beam.passage_ids,
        "document_ids": beam.document_ids,
        "texts": beam.texts,
        "shape": vectors.shape,
        "vectors": base64.b64encode(vectors.tobytes()).decode(),
    }


def _beam_from_json(told: dict[str, Any]) -> Beam:
    flat = np.frombuffer(base64.b64decode(told["vectors"]), dtype=np.float32)
    vectors = flat.reshape(told["shape"])
    return Beam(told["passage_ids"], told["document_ids"], told["texts"], vectors)
