"""Many documents are imported as a user does, by `realm corpus import`; the command is killed in
the middle and given again, and later the leading indexer is killed under it.

Nothing is indexed meanwhile: an import has ended when its writes are acknowledged, that is, when
the corpus holds them. What it then holds is read row by row.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from bench.claims import Result, at_least, at_most, none
from bench.cluster import BenchCluster
from bench.documents import as_line, whole_words
from bench.harness import Bench, Context
from bench.tiny import tokenizer
from realm.client.requests import BATCH_DOCUMENTS
from realm.corpus.documents import Document
from realm.corpus.table import BUCKETS, CorpusTable
from realm.errors import DependencyUnavailable
from realm.records.store import Store

REALM = Path(sys.executable).with_name("realm")
WORDS = 60
#: Of the documents, when the import and when the leading indexer is killed.
IMPORT_KILLED, LEADER_KILLED = 0.4, 0.7
#: The corpus is read in so many parts.
BANDS = 16
POLL_SECONDS = 0.2
#: A command that takes longer does not end.
COMMAND_SECONDS = 1100.0
MIB = 2.0**20
IMPORTER, LEADER, GATEWAY = "import", "indexer", "gateway"
#: Beyond what a process has when a quarter is written.
MOST_GROWTH = 1.25
MOST_IMPORTER_MIB = 200


@dataclass(frozen=True, slots=True)
class Parameters:
    """`judge_memory`: there are enough documents for a leak to show."""

    documents: int
    judge_memory: bool


@dataclass(frozen=True, slots=True)
class Look:
    """`seconds` of importing, the documents that the corpus held then, and resident bytes by
    process."""

    seconds: float
    written: int
    memory: dict[str, int]


@dataclass(frozen=True, slots=True)
class Held:
    """What the corpus holds: its rows, and of the documents those absent and those that differ."""

    rows: int
    absent: int
    other: int
    strange: int


@dataclass(frozen=True, slots=True)
class Observed:
    """`resumed` documents were written before the kill; `written` by the second command."""

    looks: list[Look]
    bytes: int
    resumed: int
    written: int
    problems: int
    seconds: float
    leader_restarts: int
    held: Held


@dataclass(frozen=True, slots=True)
class Corpus:
    """Document `number` is the same whenever it is asked for."""

    words: list[str]
    seed: int

    def document(self, number: int) -> Document:
        rng = random.Random(f"{self.seed}:{number}")
        title, *text = rng.choices(self.words, k=WORDS + 1)
        return Document(f"generated-{number}", f"{title} {number}", " ".join(text), {})

    def write(self, file: Path, count: int) -> None:
        with file.open("w", encoding="utf-8") as lines:
            lines.writelines(as_line(self.document(number)) for number in range(count))


def observe(parameters: Parameters, context: Context) -> Observed:
    """:raises DependencyUnavailable: if the cluster does not come up, or the import ends early."""
    corpus = Corpus(whole_words(sorted(tokenizer().get_vocab())), context.seed)
    file = context.folder / "generated.jsonl"
    corpus.write(file, parameters.documents)
    with BenchCluster(context.folder / "cluster", {}) as cluster:
        run = Run(cluster, file)
        run.until_killed(IMPORT_KILLED * parameters.documents)
        out = run.to_the_end(LEADER_KILLED * parameters.documents)
        return Observed(
            looks=run.looks,
            bytes=file.stat().st_size,
            resumed=int(out["resumed_after"]),
            written=int(out["documents_written"]),
            problems=len(out["problems"]),
            seconds=run.seconds,
            leader_restarts=cluster.restarts.get(LEADER, 0),
            held=read(cluster.store, corpus, parameters.documents),
        )


@dataclass(slots=True)
class Run:
    """The commands, and what is seen of them and of the cluster meanwhile."""

    cluster: BenchCluster
    file: Path
    looks: list[Look] = field(default_factory=list)
    seconds: float = 0.0

    def until_killed(self, written: float) -> None:
        """By SIGKILL, once so many documents are written."""
        importer = self._start()
        for look in self._watched(importer):
            if look.written >= written:
                importer.kill()
        if importer.wait() != -signal.SIGKILL:
            raise DependencyUnavailable(f"the import ended too soon: {self._log.read_text()}")

    def to_the_end(self, leader_killed: float) -> dict[str, Any]:
        """The same command given again: what it prints. The leader is killed once so many documents
        are written."""
        importer, killed = self._start(), False
        for look in self._watched(importer):
            self.cluster.supervisor.restart_dead()
            if not killed and look.written >= leader_killed:
                killed = True
                (leader,) = self.cluster.named(LEADER)
                if leader.pid:
                    os.kill(leader.pid, signal.SIGKILL)
        if importer.wait() != 0:
            raise DependencyUnavailable(f"the import failed: {self._log.read_text()}")
        found: dict[str, Any] = json.loads(self._out.read_text())
        return found

    def _start(self) -> subprocess.Popen[bytes]:
        command = [str(REALM), "corpus", "import", str(self.file), "--json"]
        notes = {"XDG_STATE_HOME": str(self.file.parent / "notes")}
        with self._out.open("wb") as out, self._log.open("ab") as log:
            return subprocess.Popen(
                [*command, "--address", self.cluster.gateways[0]],
                env={**os.environ, **notes},
                stdout=out,
                stderr=log,
            )

    def _watched(self, importer: subprocess.Popen[bytes]) -> Iterator[Look]:
        """Until it has ended; its time counts.

        :raises DependencyUnavailable: if it does not.
        """
        began, before = time.monotonic(), self.seconds
        table = CorpusTable(self.cluster.store)
        while importer.poll() is None:
            self.seconds = before + time.monotonic() - began
            table.refresh()
            self.looks.append(Look(self.seconds, table.rows, self._memory(importer)))
            yield self.looks[-1]
            with suppress(subprocess.TimeoutExpired):
                importer.wait(POLL_SECONDS)
            if time.monotonic() > began + COMMAND_SECONDS:
                importer.kill()
                raise DependencyUnavailable(f"no end of the import: {self._log.read_text()}")

    def _memory(self, importer: subprocess.Popen[bytes]) -> dict[str, int]:
        every = {IMPORTER: importer.pid}
        for name in (LEADER, GATEWAY):
            (process,) = self.cluster.named(name)
            if process.pid:
                every[name] = process.pid
        sizes = {name: _resident(pid) for name, pid in every.items()}
        return {name: size for name, size in sizes.items() if size}

    @property
    def _out(self) -> Path:
        return self.file.with_name("import.json")

    @property
    def _log(self) -> Path:
        return self.file.with_name("import.log")


def _resident(pid: int) -> int:
    """In bytes; 0 of one that has ended."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def read(store: Store, corpus: Corpus, count: int) -> Held:
    """Compares the corpus with what was imported."""
    table = CorpusTable(store)
    found: Counter[str] = Counter()
    step = BUCKETS // BANDS
    for first in range(0, BUCKETS, step):
        for state in table.band(first, first + step, texts=True):
            number = int(state.document_id.removeprefix("generated-"))
            known = number < count
            same = known and state.document == corpus.document(number)
            found["same" if same else "other" if known else "strange"] += 1
    absent = count - found["same"] - found["other"]
    return Held(table.rows, absent, found["other"], found["strange"])


def judge(parameters: Parameters, observed: Observed) -> Result:
    peaks, quarters = _peaks(observed.looks, parameters.documents)
    held = observed.held
    figures = {
        "documents": parameters.documents,
        "megabytes": round(observed.bytes / 1e6, 1),
        "documents_per_second": round(parameters.documents / observed.seconds, 1),
        "documents_per_second_by_fifth": _rates(observed.looks),
        "seconds": round(observed.seconds, 1),
        "written_before_the_kill": observed.resumed,
        "written_after_it": observed.written,
        "leaders_killed": observed.leader_restarts,
        "most_mib": {name: round(size / MIB) for name, size in peaks.items()},
        "mib_at_a_quarter": {name: round(size / MIB) for name, size in quarters.items()},
    }
    claims = [
        none("documents that the corpus lacks", held.absent),
        none("documents that differ, or that nobody gave", held.other + held.strange),
        none("documents written more than once", held.rows - parameters.documents),
        none("documents that were left out", observed.problems),
        at_least("written before the kill, and not again", observed.resumed, BATCH_DOCUMENTS),
        at_least("leaders killed under it", observed.leader_restarts, 1),
    ]
    if parameters.judge_memory:
        most = peaks[IMPORTER] / MIB
        claims.append(at_most("MiB of the command at the most", most, MOST_IMPORTER_MIB))
        grown = max(peaks[name] / quarters[name] for name in (LEADER, GATEWAY))
        claims.append(
            at_most("memory of indexer and gateway, of that at a quarter", grown, MOST_GROWTH)
        )
    return Result(figures, claims)


def _peaks(looks: list[Look], documents: int) -> tuple[dict[str, int], dict[str, int]]:
    """The most that each process had, and the most that it had until a quarter was written."""
    quarter = documents / 4
    most: dict[str, int] = {}
    early: dict[str, int] = {}
    for look in looks:
        for name, size in look.memory.items():
            most[name] = max(size, most.get(name, 0))
            if look.written <= quarter:
                early[name] = most[name]
    return most, early


def _rates(looks: list[Look]) -> list[float]:
    """Documents/s over each fifth of the time."""
    if len(looks) < 2:
        return []
    edges = [looks[round(part * (len(looks) - 1) / 5)] for part in range(6)]
    return [
        round((b.written - a.written) / max(b.seconds - a.seconds, 1e-9), 1)
        for a, b in pairwise(edges)
    ]


BENCH = Bench(
    description=__doc__ or "",
    full=Parameters(documents=1_000_000, judge_memory=True),
    quick=Parameters(documents=30_000, judge_memory=False),
    observe=observe,
    judge=judge,
    options={"documents": "how many are imported"},
)
