"""A running cluster is asked before and after it is given the documents that answer. Nothing is
trained: knowledge lies in the corpus (REALM), and the corpus may grow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bench.claims import Result, at_least, at_most, none
from bench.cluster import BenchCluster
from bench.datasets import Dataset, QAExample, has_squad, squad, squad_distractors
from bench.documents import send
from bench.harness import Bench, Context
from realm.client import AsyncClient, Client
from realm.corpus.documents import Document
from realm.errors import FailedPrecondition
from realm.model.base import default_folder
from realm.model.publishing import load_source, publish_model
from realm.model.runtime import set_threads
from realm.records.generations import Generations
from realm.settings import load_settings
from realm.text.questions import exact_match

BATCH = 100
AT_ONCE = 4
ANSWERED_FROM = 5
TIMEOUT_SECONDS = 120
#: Grown by writes or built from nothing, the same passages are there; but BM25 goes by the average
#: length of a passage when its generation was begun, so that a few change places.
TOLERANCE = 0.01
#: In a short run a single question is more than that.
QUESTIONS_APART = 2
NEAR_NOTHING = 0.05
SETTINGS = {"REALM_GATE_PROBES": "100"}


@dataclass(frozen=True, slots=True)
class Parameters:
    """`distractors`: documents about none of the questions, there from the beginning."""

    questions: int
    distractors: int


@dataclass(frozen=True, slots=True)
class Quality:
    """Shares of the questions: their document among the first five, their answer exactly."""

    recall_at_5: float
    exact_match: float
    corpus_version: int
    generation: int


@dataclass(frozen=True, slots=True)
class Growth:
    """`full` is that of an index which began with all documents."""

    texts: Dataset
    before: Quality
    after: Quality
    full: Quality
    seconds: float
    snapshots: int


def observe(parameters: Parameters, context: Context) -> Growth:
    """:raises FailedPrecondition: without SQuAD's data beside the project."""
    if not has_squad():
        raise FailedPrecondition(
            "there are no questions to ask: shared/data/squad_open is not beside the project"
        )
    set_threads(1)
    texts = _choose(parameters, context.seed)
    rest = squad_distractors()[: parameters.distractors]
    with BenchCluster(context.folder / "grown", SETTINGS) as cluster:
        _write(cluster, rest)
        _start(cluster)
        before = asyncio.run(_ask(cluster, texts.questions, at_least=0))
        began = time.monotonic()
        version = _write(cluster, texts.documents)
        _await_applied(cluster, version)
        seconds = time.monotonic() - began
        after = asyncio.run(_ask(cluster, texts.questions, at_least=version))
        snapshots = len(cluster.snapshots.all())
    with BenchCluster(context.folder / "whole", SETTINGS) as cluster:
        version = _write(cluster, [*rest, *texts.documents])
        _start(cluster)
        full = asyncio.run(_ask(cluster, texts.questions, at_least=version))
    return Growth(texts, before, after, full, seconds, snapshots)


def _choose(parameters: Parameters, seed: int) -> Dataset:
    """Dev questions with all documents that they are about."""
    texts = squad(seed)
    asked = texts.questions[: parameters.questions]
    named = {each.document_id for each in asked}
    return Dataset(texts.source, [each for each in texts.documents if each.id in named], asked)


def _start(cluster: BenchCluster) -> None:
    """The packaged base with the shipped reader, as a newcomer's cluster begins."""
    publish_model(cluster.snapshots, load_source(default_folder(), load_settings()))
    cluster.start_embedders()
    cluster.await_answers()


def _write(cluster: BenchCluster, documents: Sequence[Document]) -> int:
    with Client(cluster.gateways[0], timeout=TIMEOUT_SECONDS) as client:
        return send(client, documents, BATCH)


def _await_applied(cluster: BenchCluster, version: int) -> None:
    generations = Generations(cluster.store)
    entry = generations.live()
    assert entry, "a gateway answers, so something is live"
    cluster.until(
        lambda: generations.applied(entry.generation) >= version, f"corpus version {version}"
    )


async def _ask(cluster: BenchCluster, questions: Sequence[QAExample], at_least: int) -> Quality:
    """Through the gateway, as a user does."""
    places = asyncio.Semaphore(AT_ONCE)
    async with AsyncClient(cluster.gateways[0], timeout=TIMEOUT_SECONDS) as client:

        async def ask(example: QAExample) -> tuple[bool, bool]:
            """Whether its document was among the first five, and whether the answer was right."""
            text = example.question
            async with places:
                searched = await client.search(text, limit=5, at_least_version=at_least)
                answered = await client.ask(text, passages=ANSWERED_FROM, at_least_version=at_least)
            near = example.document_id in {p.passage.document_id for p in searched.passages}
            answer = answered.answers[0].text if answered.answers else ""
            return near, bool(exact_match(answer, example.answers))

        found = await asyncio.gather(*map(ask, questions))
        origin = (await client.search(questions[0].question)).index_version
    count = len(questions)
    return Quality(
        recall_at_5=sum(each[0] for each in found) / count,
        exact_match=sum(each[1] for each in found) / count,
        corpus_version=origin.corpus_version,
        generation=origin.generation,
    )


def judge(parameters: Parameters, run: Growth) -> Result:
    before, after, full = run.before, run.after, run.full
    figures = {
        "questions": len(run.texts.questions),
        "documents_before": parameters.distractors,
        "documents_added": len(run.texts.documents),
        "before": asdict(before),
        "after": asdict(after),
        "built_from_nothing": asdict(full),
        "seconds_from_the_first_write_until_all_are_searchable": round(run.seconds, 1),
        "snapshots": run.snapshots,
    }
    tolerance = max(TOLERANCE, (QUESTIONS_APART + 0.5) / len(run.texts.questions))
    gap = max(abs(after.recall_at_5 - full.recall_at_5), abs(after.exact_match - full.exact_match))
    claims = [
        at_most("R@5 before the documents are there", before.recall_at_5, NEAR_NOTHING),
        at_most("EM before the documents are there", before.exact_match, NEAR_NOTHING),
        at_least("R@5 after", after.recall_at_5, full.recall_at_5 - tolerance),
        at_most("R@5 and EM after, from those of a full build", gap, tolerance),
        at_least("EM gained", after.exact_match - before.exact_match, 0.2),
        none("generations built between the two", after.generation - before.generation),
        none("snapshots beyond the first: training", run.snapshots - 1),
    ]
    return Result(figures, claims)


BENCH = Bench(
    description=__doc__ or "",
    full=Parameters(questions=400, distractors=600),
    quick=Parameters(questions=24, distractors=60),
    observe=observe,
    judge=judge,
    options={"questions": "how many are asked"},
)
