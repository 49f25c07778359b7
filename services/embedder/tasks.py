"""What a task does: asks whether it is still needed, reads, encodes, writes one file whole.

Running a task twice, or twice at once, writes one file: the first to finish.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import pyarrow as pa
import structlog

from realm import tracing
from realm.errors import Conflict, Corrupt, DependencyUnavailable, NotFound
from realm.model.checkpoint import ServingEncoder
from realm.model.inputs import InputBuilder
from realm.model.relevance import relevance_metadata
from realm.process.queue import EMBED_SHARD, ENCODE_QUERIES
from realm.process.wakeup import Wakeup
from realm.records import arrow, vectors
from realm.records.failures import clear_failure, is_quarantined, quarantine, record_failure
from realm.records.generation import pieces_folder
from realm.records.generations import Generations
from realm.records.refresh_trace import RefreshTrace
from realm.records.snapshots import Snapshot
from realm.records.store import Store
from realm.records.task_files import TaskFiles
from services.embedder.claims import WorkClaims
from services.embedder.encoding import (
    Encoders,
    Encoding,
    check_passages,
    read_answers,
    related_folders,
    reuse_vectors,
)
from services.embedder.liveness import Interrupted, Liveness, NoLongerNeeded
from services.embedder.metrics import EmbedderMetrics

#: Of generation, snapshot, input and output: whether the indexer could have asked for it.
MayBeAsked = Callable[[int, int, str, str], bool]

#: As `max_deliveries`, of a piece: before anything is parked the indexer has it tried again.
PIECE_DELIVERIES = 2

log = structlog.get_logger(__name__)


class Outcome(StrEnum):
    """How a task ended; only `done` wrote vectors."""

    DONE = "done"
    EXISTS = "exists"
    #: Another embedder is at it.
    ELSEWHERE = "elsewhere"
    UNWANTED = "unwanted"
    CORRUPT = "corrupt"
    QUARANTINED = "quarantined"
    INTERRUPTED = "interrupted"
    UNAVAILABLE = "unavailable"
    FAILED = "failed"
    #: Nobody who may could have asked for it.
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Job:
    """A task's arguments, all JSON."""

    snapshot: int
    input_file: str
    output_file: str
    generation: int

    @property
    def is_well_formed(self) -> bool:
        """Messages come as JSON, from anybody."""
        return all(type(each) is int for each in (self.snapshot, self.generation)) and all(
            isinstance(each, str) for each in (self.input_file, self.output_file)
        )

    @property
    def is_piece(self) -> bool:
        return self.input_file.startswith(f"{pieces_folder(self.generation)}/")


@dataclass(frozen=True, slots=True)
class Embedder:
    """What the tasks work with; one a process."""

    store: Store
    generations: Generations
    encoders: Encoders
    claims: WorkClaims
    max_deliveries: int
    wakeup: Wakeup
    metrics: EmbedderMetrics
    liveness: Liveness

    def embed_shard(self, job: Job) -> Outcome:
        """Vectors of a passage file; what the shard's older files hold is taken over."""
        work = partial(self._embed, job, reuse=True)
        return self._run(job, self._files.is_shard, lambda: self._traced(job, EMBED_SHARD, work))

    def embed_changes(self, job: Job) -> Outcome:
        """Vectors of the passages of changed documents, perhaps none."""
        return self._run(job, self._files.is_piece, lambda: self._embed(job, reuse=False))

    def encode_queries(self, job: Job) -> Outcome:
        """The probe questions' own rows with a column `vector`; with `passage_vector` too, of the
        passages that they were taken out of, if `title` and `passage` tell those; with
        `reader_answer`, of questions that the snapshot's reader is asked as well."""
        work = partial(self._encode_questions, job)
        return self._run(
            job, self._files.is_probes, lambda: self._traced(job, ENCODE_QUERIES, work)
        )

    @property
    def _files(self) -> TaskFiles:
        return TaskFiles(self.generations)

    def _run(self, job: Job, may_be_asked: MayBeAsked, work: Callable[[], None]) -> Outcome:
        """:raises DependencyUnavailable: if the store does not answer; try again later."""
        outcome = Outcome.FAILED
        self.liveness.beat()
        try:
            with self.liveness.busy():
                skipped = self._refused(job, may_be_asked) or self._skipped(job)
                outcome = skipped or self._finish(job, work)
        except DependencyUnavailable:
            outcome = Outcome.UNAVAILABLE
            raise
        finally:
            self.metrics.shards.labels(outcome).inc()
            # An exception of another kind may be the shard's fault, and ends this process: a death.
            self.claims.release(survived=outcome is not Outcome.FAILED)
            log.info("task_ended", outcome=outcome, output=job.output_file)
        return outcome

    def _refused(self, job: Job, may_be_asked: MayBeAsked) -> Outcome | None:
        """One that is over is nobody's fault."""
        if not job.is_well_formed:
            return Outcome.REFUSED
        if self._files.generation(job.generation) is None:
            return Outcome.UNWANTED
        if may_be_asked(job.generation, job.snapshot, job.input_file, job.output_file):
            return None
        log.error("task_refused", output=job.output_file, generation=job.generation)
        return Outcome.REFUSED

    def _skipped(self, job: Job) -> Outcome | None:
        """Why there is nothing to do; None if there is."""
        if not self.claims.claim(job.output_file):
            # If that one dies, the indexer requests the work again.
            return Outcome.ELSEWHERE
        if self.store.exists(job.output_file):
            return Outcome.EXISTS
        if not self._wanted(job):
            return Outcome.UNWANTED
        if self.liveness.draining:
            return Outcome.INTERRUPTED
        if is_quarantined(self.store, job.output_file):
            return Outcome.QUARANTINED
        deaths = self.claims.start()
        if deaths < (PIECE_DELIVERIES if job.is_piece else self.max_deliveries):
            log.info("task_started", output=job.output_file, generation=job.generation)
            return None
        log.error("shard_quarantined", input=job.input_file, deaths=deaths)
        quarantine(
            self.store,
            snapshot=job.snapshot,
            input_file=job.input_file,
            output_file=job.output_file,
            deliveries=deaths,
        )
        return Outcome.QUARANTINED

    def _finish(self, job: Job, work: Callable[[], None]) -> Outcome:
        outcome = Outcome.DONE
        try:
            work()
        except NoLongerNeeded:
            return Outcome.UNWANTED
        except Interrupted:
            return Outcome.INTERRUPTED
        except (Corrupt, NotFound) as error:
            if not self._wanted(job):
                return Outcome.UNWANTED
            # Not tried again here: the same bytes would fail again. The indexer decides.
            record_failure(
                self.store,
                snapshot=job.snapshot,
                input_file=job.input_file,
                output_file=job.output_file,
                error=error,
            )
            self.wakeup.send("vectors")
            log.error("unusable_input", input=job.input_file, snapshot=job.snapshot, why=str(error))
            return Outcome.CORRUPT
        except Conflict:
            # Another embedder was at it too, as after a wipe of Redis; or our put's reply was lost.
            outcome = Outcome.EXISTS
        clear_failure(self.store, job.output_file)
        self.wakeup.send("vectors")
        return outcome

    def _traced(self, job: Job, task: str, work: Callable[[], None]) -> None:
        """As a part of the refresh that the generation belongs to."""
        if not RefreshTrace.on():
            return work()
        snapshot = self.encoders.snapshots.get(self.generations.get(job.generation).snapshot)
        with RefreshTrace(snapshot).task(task, "embed", job.generation, output=job.output_file):
            return work()

    def _wanted(self, job: Job) -> bool:
        """A piece is taken back when it is needed no more."""
        if not self.generations.is_active(job.generation):
            return False
        return not job.is_piece or self.store.exists(job.input_file)

    def _embed(self, job: Job, *, reuse: bool) -> None:
        began = time.monotonic()
        with self._phase("load"):
            snapshot = self.encoders.snapshots.get(job.snapshot)
            tower = self.encoders.passage(snapshot)
            self.metrics.loaded_step.set(self.encoders.newest_step)
        with self._phase("read"):
            _check_fingerprint(job, snapshot, tower.inputs)
            table = check_passages(arrow.read_table(self.store, job.input_file), job.input_file)
            ids = table.column("passage_id").to_pylist()
            hashes = table.column("content_hash").to_pylist()
            size = tower.config.embedding_size
            folders = related_folders(self.store, job.output_file) if reuse else []
            known = reuse_vectors(self.store, folders, hashes, size)
        with self._phase("encode"):
            encoding = self._encoding(job, tower)
            made = encoding.passages(table, known)
            self._count(encoding, len(ids))
        with self._phase("write"):
            about = self._about(job, encoding, len(ids), began)
            arrow.create_table(
                self.store, job.output_file, vectors.to_table(ids, hashes, made, about)
            )

    def _encode_questions(self, job: Job) -> None:
        began = time.monotonic()
        with self._phase("load"):
            snapshot = self.encoders.snapshots.get(job.snapshot)
            tower = self.encoders.query(snapshot)
            self.metrics.loaded_step.set(self.encoders.newest_step)
        with self._phase("read"):
            table = arrow.read_table(self.store, job.input_file)
            if "question" not in table.column_names:
                raise Corrupt(f"{job.input_file} has no column question", file=job.input_file)
        with self._phase("encode"):
            encoding = self._encoding(job, tower)
            made = {"vector": encoding.questions(table.column("question").to_pylist())}
            self._count(encoding, table.num_rows)
            if "passage" in table.column_names:
                encoding = self._encoding(job, self.encoders.passage(snapshot))
                made["passage_vector"] = encoding.texts(table)
                self._count(encoding, encoding.progress.done)
        if "reader_question" in table.column_names:
            with self._phase("read"):
                reader, compute = self.encoders.reader(snapshot), self.encoders.compute
                check = self.liveness.checker(lambda: self._wanted(job))
                answers = read_answers(reader, tower.inputs, table, compute, check)
                table = table.append_column("reader_answer", pa.array(answers, pa.string()))
        with self._phase("write"):
            about = self._about(job, encoding, table.num_rows, began)
            about |= relevance_metadata(tower.relevance)
            for name, rows in made.items():
                flat = pa.array(rows.reshape(-1))
                column = pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])
                table = table.append_column(name, column)
            arrow.create_table(self.store, job.output_file, table.replace_schema_metadata(about))

    def _encoding(self, job: Job, tower: ServingEncoder) -> Encoding:
        check = self.liveness.checker(lambda: self._wanted(job))
        return Encoding(tower, self.encoders.compute, check)

    def _count(self, encoding: Encoding, rows: int) -> None:
        progress = encoding.progress
        self.metrics.passages.inc(progress.done)
        self.metrics.passages_taken_over.inc(rows - progress.done)
        self.metrics.tokens.inc(progress.tokens)
        self.metrics.padding_tokens.inc(progress.padding)

    def _about(self, job: Job, encoding: Encoding, rows: int, began: float) -> dict[str, str]:
        return {
            "snapshot": str(job.snapshot),
            "generation": str(job.generation),
            "passages": str(rows),
            "embedded": str(encoding.progress.done),
            "seconds": f"{time.monotonic() - began:.3f}",
            "device": str(encoding.device),
        }

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        with self.metrics.shard_duration.labels(name).time(), tracing.span(name):
            yield
        self.liveness.beat()


def _check_fingerprint(job: Job, snapshot: Snapshot, inputs: InputBuilder) -> None:
    """Token ids of another tokenizer would give vectors that are wrong without notice.

    :raises Corrupt: if the passage file was cut for another.
    """
    # One of an older release says another fingerprint than its tokenizer gives by now.
    if not {snapshot.fingerprint, inputs.fingerprint} & set(job.input_file.split("/")):
        raise Corrupt(
            f"{job.input_file} was not cut for snapshot {snapshot.number}, whose fingerprint is"
            f" {snapshot.fingerprint}: cut the passages again",
            file=job.input_file,
        )
