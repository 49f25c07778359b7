"""What `make run` costs a machine that nobody asks anything: when each process is ready, the
processor time until then, and the memory of all of them once vectors are live.

Memory is counted by the kernel's proportional set size: a page that several processes share counts
once. Training is off, for a cluster at rest; `--train` shows what it adds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import psutil

from bench.claims import Result, at_most
from bench.datasets import any_dataset
from bench.harness import Bench, Context
from bench.processes import processor_seconds
from bench.up import Up

SUPERVISOR = "standalone"
#: What each process logs when it is ready, by the first word of its name.
READY = {
    "fork": "fork_server_ready",
    "web": "web_listening",
    "redis": "Ready to accept connections",
    "qdrant": "qdrant_edge_serving",
    "indexer": "indexer_ready",
    "gateway": "gateway_listening",
    "trainer": "snapshot_published",
    "embedder": "embedder_ready",
}
GIB = 2.0**30
MOST_GIB, MOST_SECONDS = 1.8, 6.0


@dataclass(frozen=True, slots=True)
class Parameters:
    """`rest` seconds pass between live vectors and the first look at memory, as many to the last.
    `judge_time`: nothing else runs on the machine."""

    documents: int
    rest: float
    train: bool
    judge_time: bool


@dataclass(slots=True)
class Seen:
    """A process. `started` and `ready` are seconds after the command; `processor` those of its
    processor time until it was ready, by the kernel's clock of hundredths."""

    process: psutil.Process
    started: float
    ready: float | None = None
    processor: float = 0.0

    @property
    def seconds(self) -> float:
        """From its start; infinite if it never came."""
        return float("inf") if self.ready is None else self.ready - self.started


@dataclass(frozen=True, slots=True)
class Memory:
    """Proportional set sizes in bytes by process, their own children among them."""

    sizes: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.sizes.values())


@dataclass(frozen=True, slots=True)
class Observed:
    """`vectors`: seconds after the command until a generation with vectors was live. `idle`: share
    of one processor that all processes together took at rest."""

    seen: Mapping[str, Seen]
    vectors: float
    memory: Memory
    idle: float
    load: float


def observe(parameters: Parameters, context: Context) -> Observed:
    """:raises DependencyUnavailable: if the cluster does not come up."""
    load = psutil.getloadavg()[0]
    texts = any_dataset(context.seed).documents[: parameters.documents]
    options = [] if parameters.train else ["--no-train"]
    with Up(context.folder, options, texts) as up:
        run = Run(up)
        vectors = up.until_vectors(run.look)
        up.wait(parameters.rest)
        used = run.processor_seconds()
        began = time.monotonic()
        up.wait(parameters.rest)
        idle = (run.processor_seconds() - used) / (time.monotonic() - began)
        return Observed(run.seen, vectors, run.memory(), idle, load)


@dataclass(slots=True)
class Run:
    """What is seen of the cluster's processes."""

    up: Up
    seen: dict[str, Seen] = field(default_factory=dict)

    def look(self) -> bool:
        """Notes who has started and who is ready; returns whether all are."""
        for name, child, moment in self.up.started():
            if name not in self.seen:
                self.seen[name] = Seen(psutil.Process(child), moment - self.up.began)
        for name, each in self.seen.items():
            if each.ready is None and self._is_ready(name):
                each.ready = time.time() - self.up.began
                each.processor = processor_seconds(each.process)
        return all(each.ready for each in self.seen.values())

    def memory(self) -> Memory:
        """Of every process, the supervisor's among them."""
        own = {SUPERVISOR: self.up.supervisor}
        named = own | {name: each.process for name, each in self.seen.items()}
        known = {each.pid for each in named.values()}
        return Memory(
            {
                name: sum(
                    one.memory_full_info().pss
                    for one in (each, *each.children(recursive=True))
                    if one.pid == each.pid or (name != SUPERVISOR and one.pid not in known)
                )
                for name, each in named.items()
            }
        )

    def processor_seconds(self) -> float:
        """Of all processes until now."""
        supervisor = self.up.supervisor
        return sum(map(processor_seconds, (supervisor, *supervisor.children(recursive=True))))

    def _is_ready(self, name: str) -> bool:
        log = self.up.state / "logs" / f"{name}.log"
        return log.exists() and READY[name.partition("-")[0]] in log.read_text(errors="replace")


def judge(parameters: Parameters, observed: Observed) -> Result:
    seen = sorted(observed.seen.items(), key=lambda pair: pair[1].started)
    figures = {
        "documents": parameters.documents,
        "training": parameters.train,
        "load": observed.load,
        "started_after_seconds": {name: round(each.started, 2) for name, each in seen},
        "ready_within_seconds": {name: round(each.seconds, 2) for name, each in seen},
        "processor_seconds_to_ready": {name: round(each.processor, 2) for name, each in seen},
        "processor_seconds_to_ready_total": round(sum(each.processor for _, each in seen), 2),
        "vectors_live_after_seconds": round(observed.vectors, 1),
        "processor_share_at_rest": round(observed.idle, 4),
        "pss_mib": {name: round(size / 2**20) for name, size in observed.memory.sizes.items()},
    }
    total = observed.memory.total / GIB
    if parameters.train:
        return Result({**figures, "pss_gib": round(total, 3)}, [])
    claims = [at_most("GiB of all processes at rest", total, MOST_GIB)]
    if parameters.judge_time:
        slowest = max(each.seconds for _, each in seen)
        claims.append(at_most("seconds until a process is ready", slowest, MOST_SECONDS))
    return Result(figures, claims)


BENCH = Bench(
    description=__doc__ or "",
    full=Parameters(documents=200, rest=20.0, train=False, judge_time=True),
    quick=Parameters(documents=40, rest=5.0, train=False, judge_time=False),
    observe=observe,
    judge=judge,
    options={"documents": "of the corpus", "train": "show what training adds, claim nothing"},
)
