"""`python -m bench growth`: a running cluster is asked before and after it is given the documents
that answer. Nothing is trained: knowledge lies in the corpus (REALM), and the corpus may grow."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.claims import Result, at_least, at_most, none
from bench.cluster import BenchCluster
from bench.texts import Asked, Texts, has_squad, squad, squad_distractors
from realm.client import AsyncClient, Client, document
from realm.corpus.documents import Document
from realm.errors import FailedPrecondition
from realm.model.base import default_folder
from realm.model.publishing import load_source, publish_model
from realm.model.runtime import set_threads
from realm.records.generations import Generations
from realm.settings import load_settings
from realm.text.answers import exact_match

QUESTIONS, QUICK_QUESTIONS = 400, 24
DISTRACTORS, QUICK_DISTRACTORS = 600, 60
BATCH = 100
AT_ONCE = 4
ANSWERED_FROM = 5
#: Grown by writes or built from nothing, the same passages are there; but BM25 goes by the average
#: length of a passage when its generation was begun, so that a few change places.
TOLERANCE = 0.01
#: In a short run a single question is more than that.
QUESTIONS_APART = 2
NEAR_NOTHING = 0.05
SETTINGS = {"REALM_GATE_PROBES": "100"}


@dataclass(frozen=True, slots=True)
class Quality:
    """Shares of the questions: their document among the first five, their answer exactly."""

    recall_at_5: float
    exact_match: float
    corpus_version: int
    generation: int


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--questions", type=int, default=QUESTIONS, help="how many are asked")


def run(options: argparse.Namespace, folder: Path) -> Result:
    """:raises FailedPrecondition: without SQuAD's data beside the project."""
    if not has_squad():
        raise FailedPrecondition(
            "there are no questions to ask: shared/data/squad_open is not beside the project"
        )
    set_threads(1)
    count = QUICK_QUESTIONS if options.quick else options.questions
    texts, rest = _chosen(count, options)
    with BenchCluster(folder / "grown", SETTINGS) as cluster:
        with Client(cluster.gateways[0], timeout=120) as client:
            _write(client, rest)
            _start(cluster)
            before = asyncio.run(_ask(cluster, texts.questions, at_least=0))
            began = time.monotonic()
            version = _write(client, texts.documents)
            applied = _until_applied(cluster, version) - began
        after = asyncio.run(_ask(cluster, texts.questions, at_least=version))
        snapshots = len(cluster.snapshots.all())
    with BenchCluster(folder / "whole", SETTINGS) as cluster:
        with Client(cluster.gateways[0], timeout=120) as client:
            version = _write(client, [*rest, *texts.documents])
        _start(cluster)
        full = asyncio.run(_ask(cluster, texts.questions, at_least=version))
    figures = {
        "questions": len(texts.questions),
        "documents_before": len(rest),
        "documents_added": len(texts.documents),
        "before": asdict(before),
        "after": asdict(after),
        "built_from_nothing": asdict(full),
        "seconds_from_the_first_write_until_all_are_searchable": round(applied, 1),
        "snapshots": snapshots,
    }
    tolerance = max(TOLERANCE, (QUESTIONS_APART + 0.5) / len(texts.questions))
    gap = max(abs(after.recall_at_5 - full.recall_at_5), abs(after.exact_match - full.exact_match))
    claims = [
        at_most("R@5 before the documents are there", before.recall_at_5, NEAR_NOTHING),
        at_most("EM before the documents are there", before.exact_match, NEAR_NOTHING),
        at_least("R@5 after", after.recall_at_5, full.recall_at_5 - tolerance),
        at_most("R@5 and EM after, from those of a full build", gap, tolerance),
        at_least("EM gained", after.exact_match - before.exact_match, 0.2),
        none("generations built between the two", after.generation - before.generation),
        none("snapshots beyond the first: training", snapshots - 1),
    ]
    return Result(figures, claims)


def _chosen(count: int, options: argparse.Namespace) -> tuple[Texts, list[Document]]:
    """Dev questions with all documents that they are about, and documents about none of them."""
    texts = squad(options.seed)
    asked = texts.questions[:count]
    named = {each.document_id for each in asked}
    documents = [each for each in texts.documents if each.id in named]
    rest = squad_distractors()[: QUICK_DISTRACTORS if options.quick else DISTRACTORS]
    return Texts(texts.source, documents, asked), rest


def _start(cluster: BenchCluster) -> None:
    """The packaged base with the shipped reader: what a newcomer's cluster begins with."""
    model = load_source(default_folder(), load_settings())
    publish_model(cluster.snapshots, model)
    cluster.start_embedders()
    cluster.await_answers()


def _write(client: Client, documents: Sequence[Document]) -> int:
    version = 0
    for start in range(0, len(documents), BATCH):
        batch = documents[start : start + BATCH]
        messages = [document(each.id, each.text, title=each.title) for each in batch]
        version = client.upsert(messages).corpus_version
    return version


def _until_applied(cluster: BenchCluster, version: int) -> float:
    generations = Generations(cluster.store)
    entry = generations.live()
    assert entry, "a gateway answers, so something is live"
    cluster.until(
        lambda: generations.applied(entry.generation) >= version, f"corpus version {version}"
    )
    return time.monotonic()


async def _ask(cluster: BenchCluster, questions: Sequence[Asked], at_least: int) -> Quality:
    """Through the gateway, as a user does."""
    gate = asyncio.Semaphore(AT_ONCE)
    async with AsyncClient(cluster.gateways[0], timeout=120) as client:
        found = await asyncio.gather(*[_one(client, gate, each, at_least) for each in questions])
        origin = (await client.search(questions[0].question)).index_version
    count = len(questions)
    return Quality(
        recall_at_5=sum(each[0] for each in found) / count,
        exact_match=sum(each[1] for each in found) / count,
        corpus_version=origin.corpus_version,
        generation=origin.generation,
    )


async def _one(
    client: AsyncClient, gate: asyncio.Semaphore, asked: Asked, at_least: int
) -> tuple[bool, bool]:
    """Whether the document was among the first five, and whether the answer was right."""
    async with gate:
        searched = await client.search(asked.question, limit=5, at_least_version=at_least)
        answered = await client.ask(
            asked.question, passages=ANSWERED_FROM, at_least_version=at_least
        )
    near = asked.document_id in {each.passage.document_id for each in searched.passages}
    text = answered.answers[0].text if answered.answers else ""
    return near, bool(exact_match(text, asked.answers))
