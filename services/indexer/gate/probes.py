"""Probe questions, asked of the candidate and of live alike: given in a file, recorded from users,
or sentences of held-out documents.

The last are the inverse cloze task on the documents that no objective trains on, with the sentence
taken out of its passage as ORQA does: else its words alone would find it. The collection holds the
whole passage, so the embedder encodes the rest of it beside the question, and that takes its place.
A question is chosen by its passage's id alone, so the set hardly changes when the corpus does.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from realm.corpus.documents import is_held_out
from realm.errors import InvalidInput
from realm.model.relevance import DENSE_ONLY, Relevance, relevance_from
from realm.records import arrow
from realm.records.generation import Generation
from realm.records.recorded_questions import FOLDER
from realm.records.store import Store
from realm.records.vectors import Vectors, matrix
from realm.search.queries import QueryMaker
from realm.search.vector_index import Query, VectorIndex, relevance_of
from realm.text.cloze import inverse_cloze
from realm.text.questions import Question
from services.indexer.gate.comparison import Comparison, sign_test
from services.indexer.gate.readings import (
    FIELDS,
    NOT_READ,
    AnswerPassages,
    Reading,
    cloze_reading,
)

#: `passage_id` is empty where only the document is known; `source` is one of the three below.
#: `title` and `passage` are of a passage without the sentence that asks for it, else empty. The
#: last three are empty where nothing is read.
SCHEMA = pa.schema(
    [
        ("question", pa.string()),
        ("document_id", pa.string()),
        ("passage_id", pa.string()),
        ("source", pa.string()),
        ("title", pa.string()),
        ("passage", pa.string()),
        *FIELDS,
    ]
)
GIVEN, RECORDED, MADE = "file", FOLDER, "held-out"
PASSAGE_VECTOR = "passage_vector"
DEPTH = 10
SEARCH_BATCH = 32


@dataclass(frozen=True, slots=True, eq=False)
class Probes:
    """Questions, and their vectors [questions, size] by one snapshot.

    `passages` are the vectors, by the same snapshot, of the passages without their sentences; rows
    of questions that stand in no passage mean nothing. `relevance` has the snapshot's s and w; an
    embedder of an earlier release does not tell them, and vectors alone are compared. `reading` is
    what the snapshot's reader scores in all the questions that were read.
    """

    questions: pa.Table
    vectors: Vectors
    passages: Vectors | None = None
    relevance: Relevance = DENSE_ONLY
    reading: Reading | None = None

    def __len__(self) -> int:
        return int(self.questions.num_rows)

    @property
    def recorded(self) -> int:
        """How many of them users asked."""
        if "source" not in self.questions.column_names:
            return 0
        sources: list[str] = self.questions["source"].to_pylist()
        return sources.count(RECORDED)

    def about(self, documents: set[str]) -> Probes:
        """Those whose document is one of these."""
        return self._among("document_id", documents)

    def of_source(self, *sources: str) -> Probes:
        """Those from one of these; an earlier release's are not told apart."""
        if "source" not in self.questions.column_names:
            return self if MADE in sources else self._among("document_id", set())
        return self._among("source", set(sources))

    def _among(self, column: str, values: set[str]) -> Probes:
        chosen = pc.is_in(self.questions[column], value_set=pa.array(values, pa.string()))
        rows = np.asarray(chosen.to_pylist(), dtype=bool)
        passages = None if self.passages is None else self.passages[rows]
        return replace(
            self,
            questions=self.questions.filter(chosen),
            vectors=self.vectors[rows],
            passages=passages,
        )

    def queries(self, maker: QueryMaker) -> list[Query]:
        """What a collection is asked for each, to be ranked by f(x, z)."""
        texts = self.questions["question"].to_pylist()
        return [maker.query(text, own) for text, own in zip(texts, self.vectors, strict=True)]

    def own_scores(self, maker: QueryMaker, queries: Sequence[Query]) -> list[float | None]:
        """f(x, z) with the question's passage z without its sentence; None where that is not so."""
        if self.passages is None:
            return [None] * len(self)
        columns = (self.questions[name].to_pylist() for name in ("title", "passage"))
        rows = zip(queries, self.passages, *columns, strict=True)
        return [
            maker.score(query, vector, title, text) if text else None
            for query, vector, title, text in rows
        ]

    def by(self, one: Generation, other: Generation | None) -> str:
        """What is looked for: the passage, or the document where only that can be compared."""
        same_cut = other is None or one.fingerprint == other.fingerprint
        named = all(self.questions["passage_id"].to_pylist())
        return "passage_id" if same_cut and named else "document_id"


def choose_questions(
    tables: Iterable[pa.Table],
    count: int,
    given: Sequence[Question] = (),
    recorded: Sequence[Question] = (),
    readings: int | None = None,
) -> pa.Table:
    """At most `count` questions: those given, if any is about a document that is there; else those
    recorded, and as many made as are missing.

    :param tables: passages.
    :param given: with their `document_id`; so are `recorded`.
    :param readings: how many are read, at most; None: all that can be.
    """
    there: set[str] = set()
    holding = AnswerPassages([*given, *recorded])

    def one_by_one() -> Iterator[pa.Table]:
        """A corpus of them is not held at once."""
        for table in tables:
            there.update(table["document_id"].unique().to_pylist())
            holding.look_through(table)
            yield table

    made = make_questions(one_by_one(), count).to_pylist()
    rows = [*_about(recorded, there, RECORDED, holding), *made]
    if of_file := _about(given, there, GIVEN, holding):
        rows = of_file
    return pa.Table.from_pylist(_read_at_most(rows[:count], readings), schema=SCHEMA)


def _about(
    questions: Sequence[Question], there: set[str], source: str, holding: AnswerPassages
) -> list[dict[str, str]]:
    """Those whose document is there, each once, in an order that follows from their words."""
    rows = {
        (one.question, one.document_id): {
            "question": one.question,
            "document_id": one.document_id,
            **dict.fromkeys(("passage_id", "title", "passage"), ""),
            "source": source,
            **holding.reading(one),
        }
        for one in questions
        if one.document_id in there
    }
    return sorted(rows.values(), key=lambda row: hashlib.sha256(row["question"].encode()).digest())


def _read_at_most(rows: Sequence[dict[str, str]], most: int | None) -> list[dict[str, str]]:
    """The rows, of which the first `most` that can be read are."""
    left = len(rows) if most is None else most
    chosen = []
    for row in rows:
        left -= bool(row["answers"])
        chosen.append(row if left >= 0 else row | NOT_READ)
    return chosen


def read_given(file: Path) -> list[Question]:
    """The questions of a .jsonl file that name their document, with their answers if it says any.

    :raises InvalidInput: if the file cannot be read, or a line is no question.
    """
    rows: list[Question] = []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the gate's probes {file} cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            question, document_id = str(row["question"]).strip(), str(row["document_id"])
            answers = tuple(map(str, _list_of(row.get("answers"))))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(
                f"{file}:{number} is no probe: give question and document_id as JSON, and perhaps a"
                " list of answers"
            ) from error
        if question:
            rows.append(Question(question, answers, document_id=document_id))
    return rows


def _list_of(value: object) -> list[object]:
    if value is None or isinstance(value, list):
        return value or []
    raise TypeError("it is no list")


def make_questions(tables: Iterable[pa.Table], count: int) -> pa.Table:
    """At most `count` questions from tables of passages; equal passages give equal questions."""
    held_out: list[dict[str, str]] = []
    for table in tables:
        columns = table.select(["passage_id", "document_id", "title", "text"]).to_pylist()
        held_out += [row for row in columns if is_held_out(row["document_id"])]
    held_out.sort(key=lambda row: hashlib.sha256(row["passage_id"].encode()).digest())
    rows: list[dict[str, str]] = []
    for row in held_out:
        if len(rows) == count:
            break
        pair = inverse_cloze(row["text"], random.Random(row["passage_id"]))
        if pair is not None:
            rows.append(
                {
                    "question": pair[0],
                    "document_id": row["document_id"],
                    "passage_id": row["passage_id"],
                    "source": MADE,
                    "title": row["title"],
                    "passage": pair[1],
                    **cloze_reading(row["passage_id"], row["text"]),
                }
            )
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def read_probes(store: Store, path: str) -> Probes:
    """What checks ask: all but users' searches, of which nobody knows what they were to find.

    :raises NotFound, Corrupt:
    """
    return read_all(store, path).of_source(GIVEN, RECORDED, MADE)


def read_all(store: Store, path: str) -> Probes:
    """:raises NotFound, Corrupt:"""
    table = arrow.read_table(store, path)
    shortened = PASSAGE_VECTOR in table.column_names  # an older embedder makes none
    return Probes(
        table,
        matrix(table),
        matrix(table, PASSAGE_VECTOR) if shortened else None,
        relevance_from(arrow.metadata(table)),
        Reading.of(table),
    )


def ranks(
    index: VectorIndex, collection: str, maker: QueryMaker, probes: Probes, by: str
) -> list[int | None]:
    """The place, from 1, at which f(x, z) puts each question's own passage; None beyond DEPTH.

    :param by: `passage_id`, or `document_id` where two collections are cut differently.
    """
    found: list[int | None] = []
    queries = probes.queries(maker)
    targets, own = probes.questions[by].to_pylist(), probes.own_scores(maker, queries)
    for start in range(0, len(targets), SEARCH_BATCH):
        chosen = slice(start, start + SEARCH_BATCH)
        answers = index.search(collection, queries[chosen], DEPTH + 1)
        asked = zip(queries[chosen], targets[chosen], own[chosen], answers, strict=True)
        for query, target, score, hits in asked:
            names = [getattr(hit.passage, by) for hit in hits]
            found.append(place(names, relevance_of(hits, query), target, score))
    return found


def alike(mine: Probes, theirs: Probes) -> tuple[Probes, Probes]:
    """Both with their shortened passages, or neither: embedders of two releases may be at work."""
    if mine.passages is None or theirs.passages is None:
        return replace(mine, passages=None), replace(theirs, passages=None)
    return mine, theirs


def place(
    names: Sequence[str], scores: Sequence[float], target: str, own: float | None
) -> int | None:
    """At which place, from 1, the target is among the best `DEPTH` of what was found.

    :param names: of what was found, best first, at least `DEPTH` + 1 if there are as many.
    :param own: the score that the target has in truth, in place of what was found of it; None: none
        but what was found.
    """
    if own is None:
        at = names.index(target) + 1 if target in names else DEPTH + 1
    else:
        above = zip(names, scores, strict=True)
        at = 1 + sum(name != target and score > own for name, score in above)
        if len(names) > DEPTH and own < scores[-1]:
            at = DEPTH + 1  # how many more are above it was not asked
    return at if at <= DEPTH else None


def recall_at(places: Sequence[int | None], k: int) -> float:
    """The share of questions whose passage is among the best k; 0 without questions."""
    return sum(place is not None and place <= k for place in places) / max(1, len(places))


def mean_reciprocal_rank(places: Sequence[int | None]) -> float:
    return sum(1 / place for place in places if place is not None) / max(1, len(places))


def compare(candidate: Sequence[int | None], live: Sequence[int | None], k: int = 5) -> Comparison:
    """Paired over the same questions."""
    pairs = [
        (mine is not None and mine <= k, theirs is not None and theirs <= k)
        for mine, theirs in zip(candidate, live, strict=True)
    ]
    losses = sum(theirs and not mine for mine, theirs in pairs)
    wins = sum(mine and not theirs for mine, theirs in pairs)
    return Comparison((losses - wins) / max(1, len(pairs)), sign_test(losses, wins))
