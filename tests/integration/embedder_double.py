"""A small real embedder: the task contract with bags of words in place of a transformer.

Vectors follow from the snapshot and the words alone; a snapshot whose passage encoder says `bad`
gives passages vectors that have nothing to do with their words, `bad 5` five in a hundred; one that
says `misreads` has good vectors, and a reader that answers nothing;
`… by 20 0.05` ends in its s and w, which are 1 and 0 if it says none.
A passage with the word KILLS ends as a task that killed its workers does, one with the word
BREAKS as one whose vector is not finite.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from realm.corpus.passages import content_hash
from realm.errors import Corrupt, NotFound
from realm.model.config import ModelConfig
from realm.model.inputs import InputBuilder
from realm.model.relevance import DENSE_ONLY, Relevance, relevance_metadata
from realm.process.queue import EMBED_CHANGES, EMBED_SHARD, ENCODE_QUERIES, make_celery
from realm.process.wakeup import Wakeup
from realm.records import arrow, vectors
from realm.records.failures import is_quarantined, quarantine, record_failure
from realm.records.generations import Generations
from realm.records.snapshots import Snapshot, Snapshots
from realm.records.states import ACTIVE
from realm.records.store import Store
from realm.settings import load_settings

SIZE = 64
KILLS = "workerkiller"
BREAKS = "vectorbreaker"
#: While the store has this file, everything kills its worker.
OUT_OF_ORDER = "out-of-order"


@lru_cache(maxsize=100_000)
def word_vector(snapshot: int, token: int, size: int) -> vectors.Vectors:
    return np.random.default_rng((snapshot, token)).standard_normal(size).astype(np.float32)


def bag(snapshot: int, ids: Sequence[int], size: int = SIZE) -> vectors.Vectors:
    """The unit vector [size] of a set of words."""
    nothing = np.zeros(size, np.float32)
    total = sum((word_vector(snapshot, each, size) for each in set(ids)), nothing)
    return (total / (np.linalg.norm(total) or 1.0)).astype(np.float32)


class Double:
    """The three tasks."""

    def __init__(self, store: Store, redis_url: str, delay: float) -> None:
        self.store = store
        self.snapshots = Snapshots(store)
        self.generations = Generations(store)
        self.nudge = Wakeup(redis_url)
        self.delay = delay

    def embed(self, snapshot: int, input_file: str, output_file: str, generation: int) -> None:
        if self.finished(output_file, generation):
            return
        table = arrow.read_table(self.store, input_file)
        texts = " ".join(table["text"].to_pylist())
        if KILLS in texts or self.store.exists(OUT_OF_ORDER):
            self.dies(snapshot, input_file, output_file)
            return
        if BREAKS in texts:
            raise Corrupt("the vector of a passage is not finite")
        found = self.snapshots.get(snapshot)
        ids, hashes = table["passage_id"].to_pylist(), table["content_hash"].to_pylist()
        rows = np.array(
            [
                self.passage(found, title + body, content)
                for title, body, content in zip(
                    table["title_ids"].to_pylist(),
                    table["body_ids"].to_pylist(),
                    hashes,
                    strict=True,
                )
            ],
            dtype=np.float32,
        ).reshape(-1, found.vector_size)
        time.sleep(self.delay)
        about = {"embedded": str(len(ids)), "seconds": "0.5"}
        vectors.write_vectors(self.store, output_file, vectors.to_table(ids, hashes, rows, about))
        self.nudge.send("vectors")

    def passage(self, snapshot: Snapshot, ids: list[int], content: str) -> vectors.Vectors:
        quality, _, _ = self.quality(snapshot).partition(" by ")
        percent = float(quality.removeprefix("bad") or 100) if quality.startswith("bad") else 0.0
        if int(content[:8], 16) % 10_000 < 100 * percent:
            ids = [int(content[:8], 16)]
        return bag(snapshot.number, ids, snapshot.vector_size)

    def quality(self, snapshot: Snapshot) -> str:
        return self.store.read(f"{snapshot.folder}/passage_encoder.safetensors").decode()

    def relevance(self, snapshot: Snapshot) -> Relevance:
        _, _, weights = self.quality(snapshot).partition(" by ")
        if not weights:
            return DENSE_ONLY
        scale, word_weight = map(float, weights.split())
        return Relevance(scale, word_weight)

    def questions(self, snapshot: int, input_file: str, output_file: str, generation: int) -> None:
        if self.finished(output_file, generation):
            return
        table = arrow.read_table(self.store, input_file)
        found = self.snapshots.get(snapshot)
        folder = self.snapshots.materialise(found, ("config.json", "tokenizer.json"))
        config = ModelConfig.from_json((folder / "config.json").read_bytes())
        inputs = InputBuilder.from_folder(folder, config.lengths)
        size = found.vector_size
        asked = table["question"].to_pylist()
        rows = [bag(snapshot, inputs.tokenize(each)[0], size) for each in asked]
        shortened = []
        for title, text in zip(
            table["title"].to_pylist(), table["passage"].to_pylist(), strict=True
        ):
            ids = inputs.title_ids(title) + inputs.tokenize(text)[0]
            shortened.append(self.passage(found, ids, content_hash(title, text)))
        for name, made in (("vector", rows), ("passage_vector", shortened)):
            flat = pa.array(np.array(made, dtype=np.float32).reshape(-1))
            table = table.append_column(name, pa.FixedSizeListArray.from_arrays(flat, size))
        misreads = self.quality(found).startswith("misreads")
        known = [json.loads(each or "[]") for each in table["answers"].to_pylist()]
        said = ["" if misreads or not each else each[0] for each in known]
        table = table.append_column("reader_answer", pa.array(said, pa.string()))
        about = relevance_metadata(self.relevance(found))
        arrow.write_table(self.store, output_file, table.replace_schema_metadata(about))
        self.nudge.send("vectors")

    def finished(self, output_file: str, generation: int) -> bool:
        unwanted = self.generations.state(generation) not in ACTIVE
        ended = self.store.exists(output_file) or is_quarantined(self.store, output_file)
        return ended or unwanted

    def dies(self, snapshot: int, input_file: str, output_file: str) -> None:
        """What the last of its deaths leaves behind."""
        quarantine(
            self.store, snapshot=snapshot, input_file=input_file, output_file=output_file,
            deliveries=3,
        )  # fmt: skip
        self.nudge.send("vectors")


def refusing(double: Double, work: Callable[..., None]) -> Callable[..., None]:
    """What cannot be used is written down, as the contract wants."""

    def task(snapshot: int, input_file: str, output_file: str, generation: int) -> None:
        try:
            work(snapshot, input_file, output_file, generation)
        except (Corrupt, NotFound) as error:
            record_failure(
                double.store, snapshot=snapshot, input_file=input_file, output_file=output_file,
                error=error,
            )  # fmt: skip
            double.nudge.send("vectors")

    return task


def serve(
    environment: dict[str, str], log: str, store_url: str, redis_url: str, delay: float, queues: str
) -> None:
    """Works until it is killed. :param log: gets what it prints."""
    os.environ.update(environment)  # that it was forked in may be another test's
    with Path(log).open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    settings = load_settings(store_url=store_url, redis_url=redis_url)
    double = Double(Store.await_open(store_url), redis_url, delay)
    app = make_celery(settings)
    app.task(refusing(double, double.embed), name=EMBED_SHARD)
    app.task(refusing(double, double.embed), name=EMBED_CHANGES)
    app.task(refusing(double, double.questions), name=ENCODE_QUERIES)
    app.worker_main(
        ["worker", "--pool=solo", "-Q", queues, "-n", f"{queues}@double",
         "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=WARNING"]
    )  # fmt: skip
