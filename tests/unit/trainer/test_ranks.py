"""Commands, search results and search errors reach the other processes whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
import torch
from prometheus_client import CollectorRegistry

from realm.errors import DependencyUnavailable, NotReady, RealmError
from realm.model.inputs import Encoded
from realm.objectives.candidates import Asked, Beam, Candidate
from realm.objectives.sources import Questions
from realm.records.store import Store
from realm.retrieval import Retrieval
from realm.text.questions import Question
from realm.training.distributed import ALONE, World
from services.trainer.context import TrainingContext
from services.trainer.metrics import TrainerMetrics
from services.trainer.ranks import SharedSearch, WorkerRank
from services.trainer.retrieval import LiveRetrieval
from tests import tiny

FOUND = Candidate("p1", "d1", "A town, Zürich.", [5], [6, 7], 1 / 3)
ASKED = Asked("wer?", Encoded([1, 2], [0, 0]))


class Index:
    """Finds one passage, or fails."""

    def __init__(self, fault: RealmError | None = None) -> None:
        self.fault = fault

    def search(
        self, asked: Sequence[Asked], limit: int, way: Retrieval = Retrieval.HYBRID
    ) -> list[list[Candidate]]:
        if self.fault:
            raise self.fault
        found = [FOUND, FOUND] if way is Retrieval.BM25 else [FOUND]
        return [found for _ in asked]

    def beams(self, asked: Sequence[Asked], limit: int) -> list[Beam]:
        vectors = np.arange(8, dtype=np.float32).reshape(2, 4) / np.float32(3)
        words = np.array([1 / 3, 0.0], np.float32)
        return [Beam(["p1", "p2"], ["d1", "d1"], ["a", "b"], vectors, words) for _ in asked]

    def of_document(self, document_id: str) -> list[Candidate]:
        return [FOUND]


def shared(fault: RealmError | None = None) -> SharedSearch:
    return SharedSearch(ALONE, cast(LiveRetrieval, Index(fault)))


def test_candidates_come_over_whole() -> None:
    assert shared().search([ASKED] * 2, 3) == [[FOUND], [FOUND]]
    assert shared().search([ASKED], 3, Retrieval.BM25) == [[FOUND, FOUND]]
    assert shared().of_document("d1") == [FOUND]


def test_beams_come_over_to_the_last_bit() -> None:
    (beam,) = shared().beams([ASKED], 2)
    (own,) = Index().beams([ASKED], 2)
    assert beam.passage_ids == own.passage_ids
    assert (beam.vectors == own.vectors).all()
    assert beam.vectors.dtype == beam.words.dtype == np.float32
    assert (beam.words == own.words).all()


def test_a_worker_rank_takes_the_questions_that_the_leader_read(store: Store) -> None:
    commands = iter(
        [
            {"command": "questions", "text": '{"question": "wer?", "answers": ["ää"]}'},
            {"command": "stop"},
        ]
    )

    class Leader:
        def share(self, value: object) -> object:
            return next(commands)

    questions = Questions()
    nothing: Any = None
    context = TrainingContext(
        tiny.settings(train_questions="elsewhere.jsonl"),
        store,
        torch.device("cpu"),
        TrainerMetrics(CollectorRegistry()),
        cast(World, Leader()),
    )
    WorkerRank(context, nothing, nothing, None, questions).run()
    assert questions.all == (Question("wer?", ("ää",)),)


@pytest.mark.parametrize("kind", [DependencyUnavailable, NotReady])
def test_a_fault_is_raised_alike(kind: type[RealmError]) -> None:
    with pytest.raises(kind, match="the index is away"):
        shared(kind("the index is away")).search([ASKED], 1)
