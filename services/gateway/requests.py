"""What is asked of the gateway, and what it responds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from realm.model.answers import Answers
from realm.retrieval import Retrieval
from realm.v1.types_pb2 import Filter
from services.gateway.ranking import Retrieved
from services.gateway.serving import PinnedServing


@dataclass(frozen=True, slots=True)
class Request:
    """`answers` 0 asks for passages alone; `retrieval` None leaves it to the setting; `at_least` is
    the corpus version that must be searched. The best `rerank` passages are read, and ranked by
    what is found in them too; those of a score below `least_score` are left out. Only passages of
    documents that pass `filter` take part (None: all). `generation` is asked in place of what is
    live, if not 0. What `caller` asks takes turns with what others ask; a `patient` one waits where
    others are refused."""

    question: str
    passages: int
    answers: int = 0
    retrieval: Retrieval | None = None
    at_least: int = 0
    rerank: int = 0
    least_score: float = -math.inf
    filter: Filter | None = None
    no_cache: bool = False
    generation: int = 0
    caller: str = ""
    patient: bool = False

    @property
    def read(self) -> int:
        """How many passages are read."""
        return self.rerank or (self.passages if self.answers else 0)

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for requests that one index answers alike."""
        passing = self.filter and self.filter.SerializeToString(deterministic=True)
        asked = (self.question, self.passages, self.answers, self.retrieval)
        return (*asked, self.rerank, self.least_score, passing)


@dataclass(frozen=True, slots=True)
class Response:
    """Passages, how they were chosen and, if asked for, answers, all of one generation; `cached`
    ones were found for an earlier request."""

    pinned: PinnedServing
    retrieval: Retrieval
    passages: list[Retrieved]
    answers: Answers
    cached: bool = False
