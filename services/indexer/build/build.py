"""What this process remembers of the current build. Losing it only costs loading again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from realm.records.generation import Generation
from realm.records.snapshots import Snapshot
from realm.records.vectors import vector_file
from realm.search.vector_index import VectorIndex
from realm.settings import Settings
from services.indexer.build.lifecycle import ASKED, HEAL, Verdict
from services.indexer.build.loader import Loaded
from services.indexer.context import Records
from services.indexer.metrics import IndexerMetrics
from services.indexer.tasks import TaskSender
from services.indexer.writes.replication import ReplicationState

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 300.0


@dataclass(slots=True)
class Build:
    """A candidate: which of its shards are embedded and loaded, and when each phase ended."""

    generation: Generation
    snapshot: Snapshot
    prepared: bool = False
    embedded: frozenset[str] = frozenset()
    loaded: dict[str, Loaded] = field(default_factory=dict)
    replicating: bool = False
    probes_ready: bool = False
    verdict: Verdict | None = None
    report: dict[str, float] = field(default_factory=dict)
    #: Why it cannot be completed; empty: it can.
    failure: str = ""
    waits_for_qdrant: bool = False
    #: By this process's monotonic clock: the last file that came, and Qdrant's being asked.
    progress_at: float = field(default_factory=time.monotonic)
    optimising_since: float | None = None
    #: Unix times, for the phases' durations that people see.
    embedded_at: float | None = None
    loaded_at: float | None = None
    optimised_at: float | None = None
    validated_at: float | None = None
    committed_at: float | None = None

    @property
    def number(self) -> int:
        return self.generation.number

    @property
    def due_at(self) -> float:
        """A refresh begins with its snapshot's publication; one that was asked for, with its build:
        its snapshot may be old, and live already. So is a heal's."""
        made = self.generation
        asked = made.forced or made.why in (ASKED, HEAL)
        return made.created_at if asked else self.snapshot.created_at

    def vectors_of(self, passage_file: str) -> str:
        return vector_file(self.snapshot.name, passage_file)

    def start_over(self) -> None:
        """Everything is loaded again, since the content of the collection is no longer known."""
        self.prepared, self.replicating, self.verdict = False, False, None
        self.optimising_since = self.loaded_at = self.optimised_at = None
        self.loaded.clear()

    def passages_per_second(self) -> float | None:
        """One embedder's rate, from the shards that were not just taken over."""
        computed = [each for each in self.loaded.values() if each.embedded and each.seconds > 0]
        seconds = sum(each.seconds for each in computed)
        return sum(each.embedded for each in computed) / seconds if seconds else None

    def phase_seconds(self, now: float, flipped_at: float | None = None) -> dict[str, float]:
        """Time spent by phase until now; a phase that has not begun is left out."""
        marks = [
            ("queue", self.generation.created_at),
            ("embed", self.embedded_at),
            ("load", self.loaded_at),
            ("optimize", self.optimised_at),
            ("validate", self.validated_at),
            ("swap", self.committed_at),
            ("flip", flipped_at),
        ]
        phases: dict[str, float] = {}
        begun = self.due_at
        for name, ended in marks:
            phases[name] = max(0.0, (now if ended is None else ended) - begun)
            if ended is None:
                break
            begun = ended
        total = (now if flipped_at is None else flipped_at) - self.due_at
        return phases | {"total": max(0.0, total)}


@dataclass(slots=True)
class Memory:
    """What one process knows beyond store and Qdrant."""

    build: Build | None = None
    #: Committed, but not yet seen at every gateway.
    flipping: Build | None = None
    #: Snapshots whose files turned out to be damaged, and the monotonic time when they are tried
    #: again: somebody may have restored them.
    damaged: dict[int, float] = field(default_factory=dict)
    #: The corpus version at which there was no document.
    empty_at: int | None = None
    failures: int = 0
    #: Monotonic time before which what failed for no fault of a snapshot is not tried again.
    retry_at: float = 0.0

    def failed(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Each time in a row the pause is twice as long."""
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**self.failures)
        self.failures += 1
        self.retry_at = clock() + pause

    def found_damaged(self, snapshot: int, clock: Callable[[], float] = time.monotonic) -> None:
        """It is left alone for a while."""
        self.damaged[snapshot] = clock() + LONGEST_PAUSE_SECONDS

    def unusable(self, clock: Callable[[], float] = time.monotonic) -> frozenset[int]:
        """Snapshots that are not to be tried now."""
        now = clock()
        return frozenset(number for number, again_at in self.damaged.items() if now < again_at)

    def succeeded(self) -> None:
        self.failures, self.retry_at = 0, 0.0


@dataclass(frozen=True, slots=True)
class BuildContext:
    """What the reconciler's parts work with; `stopped` returns whether the process is stopping."""

    records: Records
    index: VectorIndex
    replication: ReplicationState
    tasks: TaskSender
    metrics: IndexerMetrics
    settings: Settings
    memory: Memory
    stopped: Callable[[], bool] = lambda: False
