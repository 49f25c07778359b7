"""The shadow: users' recent searches, asked of the candidate and of live before the commit.

Gateways report some of their searches if `REALM_GATE_SHADOW` is set; the leader keeps the newest in
memory. They become further rows of a candidate's probe questions, so that embedders encode them by
both snapshots, and the gate asks both collections. They have no right answer and refuse nobody: the
figures tell how far users will see a change, and at what speed.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

import pyarrow as pa
from google.protobuf import json_format

from realm.records.recorded_questions import SEARCHED, RecordedQuestions
from realm.records.store import Store
from realm.retrieval import Retrieval
from realm.search.queries import QueryMaker
from realm.search.vector_index import Hit, Query, relevance_of
from realm.v1.types_pb2 import Filter
from services.indexer.gate.probes import DEPTH, Probes, read_all

#: Beyond what every probe question has; text, as a search for erased text looks through text.
COLUMNS = ("retrieval", "filter")
#: Of asking both, at the most: a commit waits for it.
BUDGET_SECONDS = 10.0

#: As `VectorIndex.search`.
Search = Callable[[str, Sequence[Query], int], Sequence[Sequence[Hit]]]


@dataclass(frozen=True, slots=True)
class LiveSearch:
    """A search as a gateway made it; `filter` None: of all documents."""

    question: str
    way: Retrieval
    filter: Filter | None = None


class RecentSearches:
    """The newest searches that gateways reported, in memory alone. Thread-safe."""

    def __init__(self, store: Store, most: int) -> None:
        self._recorded = RecordedQuestions(store)
        self._searches: deque[LiveSearch] = deque(maxlen=most)
        self._lock = threading.Lock()
        self._mark: bytes | None = None

    def record(self, searches: Iterable[LiveSearch]) -> None:
        with self._lock:
            self._searches.extend(searches)

    def drop_forgotten(self) -> None:
        """Drops all that came before an operator had users' questions forgotten."""
        if not self._searches.maxlen:
            return
        before, self._mark = self._mark, self._recorded.forgotten()
        if before not in (None, self._mark):
            with self._lock:
                self._searches.clear()

    def newest(self) -> list[LiveSearch]:
        self.drop_forgotten()
        with self._lock:
            return list(self._searches)


def with_searches(questions: pa.Table, searches: Sequence[LiveSearch]) -> pa.Table:
    """A candidate's probe questions, and searches after them."""
    if not searches:
        return questions
    plain = questions
    for name in COLUMNS:
        plain = plain.append_column(name, pa.array([""] * plain.num_rows, pa.string()))
    rows = [
        {
            **dict.fromkeys(plain.column_names, ""),
            "question": each.question,
            "source": SEARCHED,
            "retrieval": each.way.value,
            "filter": "" if each.filter is None else json_format.MessageToJson(each.filter),
        }
        for each in searches
    ]
    return pa.concat_tables([plain, pa.Table.from_pylist(rows, schema=plain.schema)])


def read_searches(store: Store, path: str) -> Probes:
    """The searches among a generation's encoded questions.

    :raises NotFound, Corrupt:
    """
    return read_all(store, path).of_source(SEARCHED)


def queries(searches: Probes, maker: QueryMaker) -> list[Query]:
    """What a collection is asked for each, as it was searched."""
    if not len(searches):  # their columns are not there then
        return []
    asked = searches.questions.select(["question", *COLUMNS]).to_pylist()
    return [
        replace(
            maker.query(row["question"], vector, Retrieval(row["retrieval"])),
            filter=json_format.Parse(row["filter"], Filter()) if row["filter"] else None,
        )
        for row, vector in zip(asked, searches.vectors, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far candidate and live agree on searches: means over them, medians of seconds.

    `overlap` is the share of the passages that the longer list holds which both have; `scores` are
    f(x, z) of the best passage, where there is one.
    """

    searches: int
    overlap: float
    same_first: float
    score: float
    live_score: float
    seconds: float
    live_seconds: float


def agreement(
    search: Search,
    candidate: tuple[str, Sequence[Query]],
    live: tuple[str, Sequence[Query]],
    by: str,
    clock: Callable[[], float] = time.perf_counter,
) -> Agreement | None:
    """Asks both, one search at a time and who is first by turns, for as long as the budget lasts;
    None if there is no search.

    :param candidate: its collection, and the searches weighed by its snapshot; so is `live`.
    :param by: `passage_id`, or `document_id` where the two are cut differently.
    :raises DependencyUnavailable: if Qdrant does not answer.
    """
    began = clock()
    seconds: tuple[list[float], list[float]] = [], []
    scores: tuple[list[float], list[float]] = [], []
    overlaps: list[float] = []
    firsts: list[bool] = []
    for row in range(len(candidate[1])):
        if row and clock() - began > BUDGET_SECONDS:
            break
        names: list[list[str]] = [[], []]
        for side in (0, 1) if row % 2 else (1, 0):
            collection, asked = (candidate, live)[side]
            query, at = asked[row], clock()
            hits = search(collection, [query], DEPTH)[0]
            seconds[side].append(clock() - at)
            names[side] = [getattr(hit.passage, by) for hit in hits]
            scores[side].extend(relevance_of(hits[:1], query))
        mine, theirs = map(set, names)
        overlaps.append(
            len(mine & theirs) / max(1, len(mine), len(theirs)) if mine or theirs else 1
        )
        firsts.append(names[0][:1] == names[1][:1])
    if not overlaps:
        return None
    return Agreement(
        len(overlaps),
        fmean(overlaps),
        fmean(firsts),
        *(fmean(each) if each else 0.0 for each in scores),
        *(median(each) for each in seconds),
    )
