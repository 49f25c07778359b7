"""The real gate over a store, Qdrant Edge and generations with their files; nothing is trained and
no service runs."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from prometheus_client import CollectorRegistry

from bench.cluster import BenchCluster
from bench.datasets import QAExample
from realm.corpus.passages import Passage, to_table
from realm.model.relevance import Relevance, relevance_metadata
from realm.records import arrow
from realm.records.baselines import GateBaselines
from realm.records.generation import Generation, collection_name
from realm.records.generations import Generations
from realm.records.snapshots import Snapshots
from realm.records.states import State
from realm.records.task_files import probes_file
from realm.records.vectors import Vectors, vector_file, write_vectors
from realm.records.vectors import to_table as vectors_table
from realm.search.bm25 import K1
from realm.search.vector_index import open_index
from realm.search.word_statistics import WordStatistics, write_word_statistics
from realm.settings import load_settings
from services.indexer.build.lifecycle import Verdict
from services.indexer.build.loader import load_shard
from services.indexer.context import Records
from services.indexer.gate.gate import Gate
from services.indexer.gate.probes import GIVEN, SCHEMA
from services.indexer.gate.readings import ANSWER, NOT_READ
from services.indexer.metrics import IndexerMetrics
from services.indexer.writes.replication import ReplicationState

FINGERPRINT = "bench"
SHARDS = 4


@dataclass(frozen=True, slots=True)
class Served:
    """What a snapshot makes of the corpus and of the probes: vectors [rows, size], an answer to
    each probe, empty to those that are not read, and its s and w."""

    passages: Vectors
    probes: Vectors
    answers: Sequence[str]
    relevance: Relevance


class GateEnvironment:
    """`with GateEnvironment(…) as gate:`; one corpus, one set of probe questions."""

    def __init__(
        self,
        folder: Path,
        passages: list[Passage],
        probes: Sequence[QAExample],
        readings: Sequence[dict[str, str]],
    ) -> None:
        """:param readings: what readers are asked, each with a probe."""
        self._cluster = BenchCluster(folder, {})
        self._store = self._cluster.store
        self._snapshots = Snapshots(self._store)
        self._generations = Generations(self._store)
        self._replication = ReplicationState(self._generations)
        settings = load_settings(
            store_url=self._store.url, qdrant_url=self._cluster.qdrant_url, gate_probes=len(probes)
        )
        self._index = open_index(settings)
        baselines = GateBaselines(self._generations, self._snapshots, settings.gate.memory)
        self._gate = Gate(
            Records.of(self._store), self._index, self._replication, settings.gate, baselines,
            IndexerMetrics(CollectorRegistry()),
        )  # fmt: skip
        self._parts = [passages[shard::SHARDS] for shard in range(SHARDS)]
        self._questions = pa.Table.from_pylist(
            [
                {
                    "question": each.question,
                    "document_id": each.document_id,
                    "passage_id": "",
                    "source": GIVEN,
                    **(readings[number] if number < len(readings) else NOT_READ),
                }
                for number, each in enumerate(probes)
            ],
            schema=SCHEMA,
        )
        self._words = WordStatistics.of(passages)
        self._word_file = write_word_statistics(self._store, FINGERPRINT, self._words)
        self._live: Generation | None = None

    def __enter__(self) -> GateEnvironment:
        self._cluster.start_infrastructure()
        return self

    def __exit__(self, *_: object) -> None:
        self._index.close()
        self._cluster.close()

    @property
    def questions(self) -> pa.Table:
        """The probes, as an embedder is given them."""
        return self._questions

    def go_live(self, served: Served) -> Verdict:
        """Makes the first generation, with which all others are compared."""
        made, verdict, report = self._judge(served)
        entry = self._generations.commit(made.number, after=None, by="bench", why="first")
        self._generations.record(made.number, State.LIVE, "first", report)
        self._replication.set_serving({made.number: made}, entry.generation)
        self._live, self._live_served = made, served
        return verdict

    def validate(self, served: Served) -> tuple[Verdict, dict[str, float]]:
        """The gate's verdict on a candidate like this; its collection is dropped again."""
        made, verdict, report = self._judge(served)
        self._replication.drop(made.number)
        self._index.drop(made.collection)
        state = State.ABANDONED if verdict.passed else State.REJECTED
        self._generations.record(made.number, state, verdict.why, report)
        return verdict, report

    def _judge(self, served: Served) -> tuple[Generation, Verdict, dict[str, float]]:
        made = self._generation(served.passages)
        self._write_probes(probes_file(made, made), served)
        if self._live is not None:
            self._write_probes(probes_file(made, self._live), self._live_served)
        verdict, report = self._gate.validate(made, self._live)
        return made, verdict, report

    def _generation(self, vectors: Vectors) -> Generation:
        """Builds one: snapshot, manifest, vector files, a filled collection that takes writes."""
        number = self._generations.next_number()
        with tempfile.TemporaryDirectory() as folder:
            # The gate reads vectors, never weights.
            (Path(folder) / "config.json").write_text(json.dumps({"bench": number}))
            snapshot = self._snapshots.publish(
                Path(folder), step=number, fingerprint=FINGERPRINT, vector_size=vectors.shape[1]
            )
        files = tuple(
            f"passages/{FINGERPRINT}/{SHARDS:03d}-{s:03d}/bench.arrow" for s in range(SHARDS)
        )
        made = Generation(
            number=number, snapshot=snapshot.number, step=number, corpus_version=1,
            fingerprint=FINGERPRINT, vector_size=vectors.shape[1], passage_files=files,
            collection=collection_name(number), created_at=time.time(), why="bench",
            average_terms=self._words.average_terms, word_statistics=self._word_file, k1=K1,
        )  # fmt: skip
        self._generations.create(made)
        self._generations.record(number, State.BUILDING)
        self._index.create(made.collection, made.vector_size)
        for shard, (path, part) in enumerate(zip(files, self._parts, strict=True)):
            if not self._store.exists(path):
                arrow.write_table(self._store, path, to_table(part))
            rows = sorted(part, key=lambda each: (each.document_id, each.ordinal))
            places = {each.passage_id: n * SHARDS + shard for n, each in enumerate(part)}
            output = vector_file(snapshot.name, path)
            table = vectors_table(
                [each.passage_id for each in rows],
                [each.content_hash for each in rows],
                vectors[[places[each.passage_id] for each in rows]],
                {},
            )
            write_vectors(self._store, output, table)
            load_shard(self._store, self._index, made, path, output)
        self._replication.start_catch_up(made, made.corpus_version)
        return made

    def _write_probes(self, path: str, served: Served) -> None:
        vectors = served.probes
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        table = self._questions.append_column("vector", column)
        table = table.append_column(ANSWER, pa.array(served.answers))
        about = relevance_metadata(served.relevance)
        arrow.write_table(self._store, path, table.replace_schema_metadata(about))
