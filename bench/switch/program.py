"""A running cluster moves to other base models, with other tokenizers, widths and poolings, back
and forth, while users search, ask and write through two gateways."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import tiny
from bench.claims import Result, at_least, none
from bench.cluster import BenchCluster
from bench.documents import write_probes
from bench.harness import Bench, Context
from bench.history.events import READS, WRITES, Kind
from bench.load.schedule import schedule
from bench.load.session import QUICK_REFRESHES, LoadProfile, LoadSession, Observations, load_session
from bench.load.transitions import Change, Transition, TransitionWatch
from bench.statistics import quantile
from bench.switch.encoders import write_encoder
from realm.client import AsyncClient
from realm.model.base import default_folder
from realm.model.checkpoint import write_model
from realm.model.runtime import set_threads
from realm.records.states import State

PROFILE = LoadProfile(
    rates={Kind.SEARCH: 5.0, Kind.ANSWER: 1.0, Kind.UPSERT: 1.5, Kind.DELETE: 0.5},
    audit_every=3,
    settings={
        **QUICK_REFRESHES,
        "REALM_PASSAGE_TOKENS": str(tiny.LENGTHS.passage),
        "REALM_QUERY_TOKENS": str(tiny.LENGTHS.query),
        "REALM_READER_TOKENS": str(tiny.LENGTHS.reader),
    },
)
REST_SECONDS = 3.0
PATIENCE_SECONDS = 300.0
#: The load ends with the last step; this is its length if none ever did.
LONGEST_SECONDS = 3600.0
MOVES = 3
AUDITED = 10


@dataclass(frozen=True, slots=True)
class Parameters:
    """No step begins after `minutes`. `wide`: from the packaged MiniLM (384 dimensions) to 768 and
    back to 384; else from 64 dimensions to 128. `encoders`: how many must answer."""

    minutes: float
    documents: int
    wide: bool
    encoders: int


@dataclass(frozen=True, slots=True)
class Encoders:
    """Folders: the first encoder, those that it moves to in turn, and one that finds worse."""

    first: Path
    next: list[Path]
    worse: Path


@dataclass(frozen=True, slots=True)
class SwitchRun:
    seen: Observations
    steps: Sequence[Transition]


class Steps(TransitionWatch):
    """Publishes encoders, rolls back and refreshes, one step after another."""

    def __init__(self, cluster: BenchCluster) -> None:
        super().__init__(cluster, PATIENCE_SECONDS)
        self._cluster = cluster

    async def publish(self, folder: Path, change: Change = Change.SWITCH) -> None:
        """By the command, as an operator does; a rollback before it paused the refresh."""
        began = time.time()
        async with self._client() as client:
            await client.pause(False, reason="bench")
        snapshot = await asyncio.to_thread(self._cluster.publish, folder)
        await self.watch(change, snapshot, began, since=began)

    async def refresh(self) -> None:
        began = time.time()
        async with self._client() as client:
            asked = await client.refresh(reason="bench")
        await self.watch(Change.REFRESH, asked.snapshot, began, since=began)

    async def roll_back(self) -> None:
        began = time.time()
        async with self._client() as client:
            found = await client.roll_back(reason="bench")
        made = self.generations.get(found.generation)
        self.ended.append(
            Transition(Change.ROLLBACK, made.snapshot, began, time.time(), made, State.LIVE)
        )

    async def run(self, encoders: Encoders, seconds: float) -> None:
        """Publishes each encoder, rolls back, builds it again; at least once, and until the time
        is up. Live and retained, which both take writes, then have different encoders."""
        until = time.time() + seconds
        for number, folder in enumerate(itertools.cycle(encoders.next)):
            await asyncio.sleep(REST_SECONDS)
            await self.publish(folder)
            await asyncio.sleep(REST_SECONDS)
            await self.roll_back()
            await asyncio.sleep(REST_SECONDS)
            await self.refresh()
            if number == 0:
                await asyncio.sleep(REST_SECONDS)
                await self.publish(encoders.worse, Change.WORSE)
            if number + 1 >= len(encoders.next) and time.time() >= until:
                break
        await asyncio.sleep(REST_SECONDS)

    def _client(self) -> AsyncClient:
        return AsyncClient(self._cluster.gateways[0])


def observe(parameters: Parameters, context: Context) -> SwitchRun:
    set_threads(1)
    writer = tiny.writer(tiny.tiny_model(context.seed), context.seed)
    encoders = make_encoders(context.folder / "encoders", context.seed, wide=parameters.wide)
    probes = write_probes(context.folder, writer, parameters.documents)
    settings = {**PROFILE.settings, "REALM_GATE_PROBES_FILE": str(probes)}
    with load_session(
        context,
        replace(PROFILE, settings=settings),
        parameters.documents,
        writer,
        lambda cluster: cluster.publish(encoders.first),
    ) as session:
        return asyncio.run(_observe(session, encoders, parameters.minutes * 60))


async def _observe(session: LoadSession, encoders: Encoders, seconds: float) -> SwitchRun:
    steps = Steps(session.cluster)
    over = asyncio.Event()

    async def step(_: asyncio.Event) -> bool:
        try:
            await steps.run(encoders, seconds)
        finally:
            over.set()
        return True

    due = schedule(PROFILE.rates, LONGEST_SECONDS)
    seen = await session.observe(itertools.takewhile(lambda _: not over.is_set(), due), step)
    return SwitchRun(seen, steps.ended)


def make_encoders(folder: Path, seed: int, *, wide: bool) -> Encoders:
    folder.mkdir(parents=True)
    small, worse = folder / "mean-64", folder / "degraded-64"
    model = tiny.tiny_model(seed)
    write_model(small, model)  # a folder as realm writes it
    write_model(worse, tiny.degraded(model, seed))
    words = tiny.tokenizer()
    if not wide:
        other = write_encoder(folder / "cls-128", words, width=128, share=0.6, seed=seed)
        return Encoders(small, [other], worse)
    first = write_encoder(folder / "cls-768", words, width=768, share=0.6, seed=seed)
    second = write_encoder(folder / "cls-384", words, width=384, share=0.7, seed=seed + 1)
    return Encoders(default_folder(), [first, second], worse)


def judge(parameters: Parameters, run: SwitchRun) -> Result:
    seen = run.seen
    moved = [each for each in run.steps if each.state is State.LIVE]
    refused = [e for e in run.steps if e.change is Change.WORSE and e.state is State.REJECTED]
    unfit = [each for each in run.steps if not each.as_expected]
    answers = _answers_by_encoder(seen)
    claims = [
        at_least("moves to an encoder of another width and tokenizer", len(moved), MOVES),
        at_least("encoders that answered under load", len(answers), parameters.encoders),
        *seen.claims(AUDITED),
        at_least("fewest writes acknowledged during a move", _fewest_writes(seen, moved), 1),
        at_least("worse encoders refused by the gate", len(refused), 1),
        none("steps that did not end as meant", len(unfit)),
        none("processes that died", sum(seen.restarts.values())),
    ]
    latencies = [each.latency for each in seen.operations if each.kind in READS and each.ok]
    figures = seen.figures() | {
        "steps": [_described(each) for each in run.steps],
        "read_latency_ms": {
            name: round(1000 * quantile(latencies, share), 1)
            for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
        },
        "answers_by_encoder": answers,
    }
    return Result(figures, claims)


def _described(step: Transition) -> str:
    made = step.generation
    where = f"{made.vector_size} dimensions, cut {made.fingerprint}" if made else "nothing"
    return f"{step.change}: {where}, {step.state}, {step.ended - step.began:.1f} s" + (
        f" ({step.why})" if step.why else ""
    )


def _fewest_writes(seen: Observations, moves: Sequence[Transition]) -> int:
    """Writes acknowledged during each move that was built (a rollback takes a moment)."""
    done = [each.done for each in seen.operations if each.kind in WRITES and each.ok]
    built = [each for each in moves if each.change is not Change.ROLLBACK]
    return min((sum(b.began <= at <= b.ended for at in done) for b in built), default=0)


def _answers_by_encoder(seen: Observations) -> dict[str, int]:
    """How many responses came from which tokenizer and width."""
    found: Counter[str] = Counter()
    for each in seen.operations:
        if each.origin is not None:
            made = seen.generations.get(each.origin.generation)
            found[f"{made.fingerprint}, {made.vector_size} dimensions"] += 1
    return dict(found)


BENCH = Bench(
    description=__doc__ or "",
    full=Parameters(minutes=6.0, documents=300, wide=True, encoders=3),
    quick=Parameters(minutes=0.0, documents=120, wide=False, encoders=2),
    observe=observe,
    judge=judge,
    options={"minutes": "no step begins later"},
)
