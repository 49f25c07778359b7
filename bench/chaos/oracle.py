"""An independent index: documents of the corpus table, split, encoded and searched exactly here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.points import Points
from realm.client import Client
from realm.corpus.passages import Passage, split_document
from realm.corpus.table import CorpusTable
from realm.errors import RealmError
from realm.model.checkpoint import load_passage_encoder, load_query_encoder
from realm.model.runtime import best_dtype, pick_device
from realm.records.generation import Generation
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from realm.records.vectors import Vectors
from realm.search.exact import top_k

#: Vectors are computed in other batches, scores summed in another order.
TOLERANCE = 1e-3
LIMIT = 10


@dataclass(frozen=True, slots=True)
class Oracle:
    """What a generation must hold and find. `vectors` is [passages, size]."""

    passages: list[Passage]
    vectors: Vectors
    questions: Vectors
    scale: float


def build_oracle(
    store: Store,
    snapshots: Snapshots,
    generation: Generation,
    version: int,
    questions: Sequence[str],
) -> Oracle:
    """From the corpus at a version and the generation's snapshot alone."""
    folder = snapshots.materialise(snapshots.get(generation.snapshot))
    dtype = best_dtype(pick_device())  # as an embedder's
    passage_encoder = load_passage_encoder(folder, dtype=dtype)
    query_encoder = load_query_encoder(folder)
    inputs = passage_encoder.inputs
    passages = [
        passage
        for state in CorpusTable(store).states(version)
        if state.document
        for passage in split_document(state.document, state.version, inputs)
    ]
    made = [inputs.passage(each.title_ids, each.body_ids) for each in passages]
    return Oracle(
        passages=passages,
        vectors=passage_encoder.encoder.encode(made),
        questions=query_encoder.encoder.encode([inputs.query(each) for each in questions]),
        scale=query_encoder.relevance.scale,
    )


def faults_of(oracle: Oracle, points: Points) -> list[str]:
    """How a collection differs from what it must hold."""
    expected = {each.passage_id: row for row, each in enumerate(oracle.passages)}
    found = {each: row for row, each in enumerate(points.ids)}
    faults = [f"lacks {each}" for each in expected.keys() - found.keys()]
    faults += [f"holds {each}, which is in no document" for each in found.keys() - expected.keys()]
    for name in expected.keys() & found.keys():
        mine, theirs = oracle.vectors[expected[name]], points.vectors[found[name]]
        if np.abs(mine - theirs).max() > TOLERANCE:
            faults.append(f"holds another vector of {name}")
    return sorted(faults)


def wrong_answers(oracle: Oracle, questions: Sequence[str], gateway: str) -> list[str]:
    """Questions to which a gateway does not give the exact search's passages."""
    rows, products = top_k(oracle.questions, oracle.vectors, LIMIT)
    faults = []
    with Client(gateway, timeout=30) as client:
        for number, question in enumerate(questions):
            expected = oracle.scale * products[number]
            try:
                found = client.search(question, limit=LIMIT, retrieval="dense").passages
            except RealmError as error:
                faults.append(f"{question[:30]}…: {error}")
                continue
            best = oracle.passages[int(rows[number][0])].passage_id
            scores = np.array([each.parts.dense for each in found])
            if len(scores) != len(expected) or found[0].passage.passage_id != best:
                faults.append(f"{question[:30]}…: another first passage or fewer of them")
            elif np.abs(scores - expected).max() > TOLERANCE * max(1.0, np.abs(expected).max()):
                faults.append(f"{question[:30]}…: other scores")
    return faults
