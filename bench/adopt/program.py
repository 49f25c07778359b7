"""A collection that qdrant-client alone made is taken over by `realm adopt`, and moves to another
model while it is searched and written. `realm plan` says before how long that takes."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qdrant_client import QdrantClient, models

from bench import tiny
from bench.claims import Result, at_least, at_most, none
from bench.cluster import BenchCluster
from bench.documents import (
    REVISION,
    DocumentWriter,
    first_ids,
    message,
    whole_words,
    write_probes,
)
from bench.harness import Bench, Context
from bench.switch.encoders import write_encoder
from realm.client import AsyncClient
from realm.corpus.documents import Document
from realm.corpus.table import CorpusTable
from realm.errors import RealmError
from realm.model.base import default_folder
from realm.model.runtime import set_threads
from realm.records.generations import Generations
from realm.records.states import TOTAL
from realm.search.qdrant.connections import endpoint
from realm.settings import load_settings
from services.indexer.report.status import phases_of

NAME = "theirs"
THEIR_SIZE = 8
FIELDS = ("--text", "body", "--id", "meta.key", "--title", "heading", "--metadata", REVISION)
#: Of 30,000 random texts by an encoder of random weights, Qdrant finds 0.91 of what an exact search
#: does: they lie closer than texts do, and what is asked here is that nothing is lost.
SETTINGS = {"REALM_RECONCILE_SECONDS": "0.5", "REALM_GATE_MIN_RECALL": "0.8"}
#: Short texts: how many of them there are is what is measured.
SENTENCES = (3, 5)
PROBES = 200
#: Searches a second; one in so many follows a write and must see it.
RATE, WRITE_EVERY = 5.0, 5
LIMIT = 5
#: Before the move begins and after it has ended.
REST_SECONDS = 5.0
TIMEOUT_SECONDS = 30.0
PATIENCE_SECONDS = 900.0
PAGE = 1_000
MOST_TIMES = 1.3


@dataclass(frozen=True, slots=True)
class Parameters:
    """`base`: it moves to the packaged model, else to a tiny one. `judge_time`: the machine is calm
    and the move long enough to be foretold."""

    points: int
    base: bool
    judge_time: bool


@dataclass(slots=True)
class Use:
    """What those who search and write meanwhile saw; `written` are documents by id, with the
    version that acknowledged each."""

    searches: int = 0
    failed: list[str] = field(default_factory=list)
    not_found: list[str] = field(default_factory=list)
    written: dict[str, int] = field(default_factory=dict)
    answers: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Held:
    """Of what the corpus holds: how many documents it lacks, and how many differ."""

    lacks: int
    differ: int


@dataclass(frozen=True, slots=True)
class Observed:
    """`plan` is what `realm plan` printed; `snapshots` are those of both models; `phases` of the
    move, in seconds."""

    adopted: dict[str, Any]
    adopting: float
    plan: dict[str, Any]
    phases: dict[str, float]
    snapshots: tuple[int, int]
    use: Use
    held: Held
    restarts: dict[str, int]


def observe(parameters: Parameters, context: Context) -> Observed:
    set_threads(1)
    words = tiny.tokenizer()
    writer = DocumentWriter(whole_words(sorted(words.get_vocab())), context.seed, SENTENCES)
    folder = context.folder
    first = write_encoder(folder / "first", words, width=384, share=0.7, seed=context.seed)
    other = default_folder()
    if not parameters.base:
        other = write_encoder(folder / "other", words, width=128, share=0.6, seed=context.seed)
    probes = write_probes(folder, writer, min(PROBES, parameters.points))
    settings = {**SETTINGS, "REALM_GATE_PROBES_FILE": str(probes)}
    with BenchCluster(folder / "cluster", settings, gateways=2) as cluster:
        ids = first_ids(parameters.points)
        fill(cluster.qdrant_url, writer, ids)
        began = time.monotonic()
        adopted = cluster.realm("adopt", NAME, *FIELDS)
        adopting = time.monotonic() - began
        cluster.publish(first)
        cluster.start_embedders()
        cluster.await_answers(PATIENCE_SECONDS)
        plan = cluster.realm("plan", other)
        before, after, phases, use = asyncio.run(_move(cluster, writer, ids, other))
        return Observed(
            adopted=adopted,
            adopting=adopting,
            plan=plan,
            phases=phases,
            snapshots=(before, after),
            use=use,
            held=_held(cluster, writer, ids, use),
            restarts=cluster.restarts,
        )


def fill(qdrant_url: str, writer: DocumentWriter, ids: Sequence[str]) -> None:
    """As somebody does who has never heard of realm."""
    with closing(QdrantClient(**endpoint(load_settings(qdrant_url=qdrant_url)))) as client:
        size = models.VectorParams(size=THEIR_SIZE, distance=models.Distance.DOT)
        client.create_collection(NAME, vectors_config={"theirs": size})
        points = (_point(number, writer.write(each, 0)) for number, each in enumerate(ids))
        while page := list(itertools.islice(points, PAGE)):
            client.upsert(NAME, page)


def _point(number: int, made: Document) -> models.PointStruct:
    payload = {
        "body": made.text,
        "heading": made.title,
        "meta": {"key": made.id},
        REVISION: made.metadata[REVISION],
    }
    return models.PointStruct(id=number, vector={"theirs": [1.0] * THEIR_SIZE}, payload=payload)


async def _move(
    cluster: BenchCluster, writer: DocumentWriter, ids: Sequence[str], other: Path
) -> tuple[int, int, dict[str, float], Use]:
    """Both snapshots, the refresh's seconds by phase, and what its users saw."""
    generations, over, use = Generations(cluster.store), asyncio.Event(), Use()
    using = asyncio.create_task(_be_used(cluster, writer, ids, over, use))
    try:
        await asyncio.sleep(REST_SECONDS)
        before = generations.get(_live(generations)).snapshot
        after = await asyncio.to_thread(cluster.publish, other)

        def has_moved() -> bool:
            live = _live(generations)
            moved = generations.get(live).snapshot == after
            return moved and TOTAL in phases_of(generations.events(live))

        what = "the move to the other model"
        await asyncio.to_thread(cluster.until, has_moved, what, PATIENCE_SECONDS)
        await asyncio.sleep(REST_SECONDS)
        return before, after, phases_of(generations.events(_live(generations))), use
    finally:
        over.set()
        await using


def _live(generations: Generations) -> int:
    entry = generations.live()
    assert entry, "something is live"
    return entry.generation


async def _be_used(
    cluster: BenchCluster, writer: DocumentWriter, ids: Sequence[str], over: asyncio.Event, use: Use
) -> None:
    """Searches at a steady rate through all gateways in turn, each for a document that is there;
    some of them for one that was written just before."""
    rng = random.Random(writer.seed)
    clients = [AsyncClient(each, timeout=TIMEOUT_SECONDS) for each in cluster.gateways]
    began = time.monotonic()

    async def one(number: int, client: AsyncClient) -> None:
        sought, version = rng.choice(ids), 0
        use.searches += 1
        try:
            if number % WRITE_EVERY == 0:
                sought = f"new-{number}"
                done = await client.upsert([message(writer.write(sought, 0))])
                use.written[sought] = version = done.corpus_version
            question = writer.question(sought, 0)
            found = await client.search(question, limit=LIMIT, at_least_version=version)
        except RealmError as error:
            use.failed.append(f"{sought}: {error}")
            return
        use.answers[found.index_version.snapshot] += 1
        if sought not in {each.passage.document_id for each in found.passages}:
            use.not_found.append(f"{sought}, by snapshot {found.index_version.snapshot}")

    async with asyncio.TaskGroup() as group:
        for number in itertools.count():
            await asyncio.sleep(max(0.0, began + number / RATE - time.monotonic()))
            if over.is_set():
                break
            group.create_task(one(number, clients[number % len(clients)]))
    for client in clients:
        await client.close()


def _held(cluster: BenchCluster, writer: DocumentWriter, ids: Sequence[str], use: Use) -> Held:
    """Compares the corpus with what was adopted and what was acknowledged since."""
    expected = {*ids, *use.written}
    differ = 0
    table = CorpusTable(cluster.store)
    for state in table.states(table.version):
        made = writer.write(state.document_id, 0)
        differ += state.document != made and state.document_id in expected
        expected.discard(state.document_id)
    return Held(len(expected), differ)


def judge(parameters: Parameters, observed: Observed) -> Result:
    use, (before, after) = observed.use, observed.snapshots
    took, told = observed.phases[TOTAL], float(observed.plan["seconds"])
    figures = {
        "points": parameters.points,
        "adopting_seconds": round(observed.adopting, 1),
        "documents_per_second": round(parameters.points / observed.adopting, 1),
        "plan": observed.plan,
        "move_seconds": {name: round(each, 2) for name, each in observed.phases.items()},
        "searches": use.searches,
        "writes": len(use.written),
        "answers_by_snapshot": dict(use.answers),
        "failed": use.failed[:LIMIT],
        "not_found": use.not_found[:LIMIT],
    }
    claims = [
        none("points that became no document", parameters.points - observed.adopted["points"]),
        none("documents that the corpus lacks afterwards", observed.held.lacks),
        none("documents that differ from what was given", observed.held.differ),
        none("searches and writes that failed", len(use.failed)),
        none("searches without the document that they sought", len(use.not_found)),
        at_least("answers by the first model", use.answers[before], 1),
        at_least("answers by the one it moved to", use.answers[after], 1),
        none("processes that died", sum(observed.restarts.values())),
    ]
    if parameters.judge_time:
        wrong = max(took / told, told / took)
        claims.append(at_most("times by which the plan missed the time", wrong, MOST_TIMES))
    return Result(figures, claims)


BENCH = Bench(
    description=__doc__ or "",
    full=Parameters(points=30_000, base=True, judge_time=True),
    quick=Parameters(points=600, base=False, judge_time=False),
    observe=observe,
    judge=judge,
    options={"points": "of the collection"},
)
