"""`python -m bench switch`: a running cluster moves to other base models, with other tokenizers,
widths and poolings, back and forth, while users search, ask and write through two gateways."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import tiny
from bench.claims import Result
from bench.cluster import BenchCluster
from bench.corpus import Author, words_of
from bench.swap.aftermath import look
from bench.swap.audit import Audit
from bench.swap.ledger import Ledger
from bench.swap.load import Load
from bench.swap.program import fill, keep_up
from bench.swap.schedule import Kind, schedule
from bench.switch import steps
from bench.switch.encoders import write_encoder
from bench.switch.steps import Steps
from bench.switch.verdict import Run, judge
from realm.model.base import default_folder
from realm.model.checkpoint import write_model
from realm.model.runtime import set_threads

GATEWAYS = 2
#: Requests a second; every write is followed by a search for what was written.
RATES: Mapping[Kind, float] = {
    Kind.SEARCH: 5.0,
    Kind.ANSWER: 1.0,
    Kind.UPSERT: 1.5,
    Kind.DELETE: 0.5,
}
DOCUMENTS = 300
QUICK_DOCUMENTS = 120
REST_SECONDS = 3.0
AUDIT_EVERY = 3
#: The load ends when the last step has; this is its length if none ever did.
LONGEST_SECONDS = 3600.0
SETTINGS = {
    "REALM_RECONCILE_SECONDS": "0.5",
    "REALM_RETIREMENT_SECONDS": "45",
    "REALM_GATE_PROBES": "100",
    "REALM_PASSAGE_TOKENS": str(tiny.LENGTHS.passage),
    "REALM_QUERY_TOKENS": str(tiny.LENGTHS.query),
    "REALM_READER_TOKENS": str(tiny.LENGTHS.reader),
}


@dataclass(frozen=True, slots=True)
class Encoders:
    """Folders: where it begins, what it moves to in turn, and one that finds worse than those."""

    first: Path
    next: list[Path]
    worse: Path


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=6.0, help="no step begins later")


def run(options: argparse.Namespace, folder: Path) -> Result:
    """:raises RealmError: if the cluster does not come up, or a command fails."""
    set_threads(1)
    seconds = 0.0 if options.quick else options.minutes * 60
    words = tiny.vocabulary(tiny.tiny_model(options.seed))
    author = Author(words_of(words), options.seed)
    encoders = make_encoders(folder / "encoders", options.seed, quick=options.quick)
    count = QUICK_DOCUMENTS if options.quick else DOCUMENTS
    settings = {**SETTINGS, "REALM_GATE_PROBES_FILE": str(write_probes(folder, author, count))}
    with BenchCluster(folder, settings, GATEWAYS) as cluster:
        ledger = Ledger()
        fill(cluster, author, ledger, count)
        doing = Steps(cluster, settings)
        asyncio.run(doing.command(encoders.first))
        cluster.start_embedders()
        cluster.await_answers()
        with Audit(cluster.store.url, AUDIT_EVERY) as audit:
            run = asyncio.run(
                _observe(cluster, doing, encoders, seconds, author, ledger, audit, options.seed)
            )
    return judge(run, quick=options.quick)


def write_probes(folder: Path, author: Author, count: int) -> Path:
    """A question for each of the first documents, in its words: encoders of random weights find
    nothing by what a text is about, which the gate's own probes ask for."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "probes.jsonl"
    names = [f"base-{number}" for number in range(count)]
    rows = [{"question": author.question(each, 0), "document_id": each} for each in names]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def make_encoders(folder: Path, seed: int, *, quick: bool) -> Encoders:
    """Quick: from 64 dimensions to 128. Else from the packaged MiniLM (384) to 768, to 384, …"""
    folder.mkdir(parents=True)
    small = folder / "mean-64"
    model = tiny.tiny_model(seed)
    write_model(small, model)  # a folder of ours
    blind = folder / "blind-64"
    write_model(blind, tiny.spoilt(model, seed))
    words = tiny.tokenizer()
    if quick:
        wide = write_encoder(folder / "cls-128", words, width=128, share=0.6, seed=seed)
        return Encoders(small, [wide], blind)
    wide = write_encoder(folder / "cls-768", words, width=768, share=0.6, seed=seed)
    other = write_encoder(folder / "cls-384", words, width=384, share=0.7, seed=seed + 1)
    return Encoders(default_folder(), [wide, other], blind)


async def _observe(
    cluster: BenchCluster,
    doing: Steps,
    encoders: Encoders,
    seconds: float,
    author: Author,
    ledger: Ledger,
    audit: Audit,
    seed: int,
) -> Run:
    load = Load(cluster.gateways, author, ledger, seed, audit.offer)
    over = asyncio.Event()
    keeping = asyncio.create_task(keep_up(cluster))
    stepping = asyncio.create_task(_steps(doing, encoders, seconds, over))
    began = time.time()
    try:
        due = schedule(RATES, LONGEST_SECONDS)
        await load.run(itertools.takewhile(lambda _: not over.is_set(), due))
        ended = time.time()
        await stepping
        if keeping.done():
            keeping.result()  # raises what ended it: a process that cannot start
        aftermath = await look(
            cluster.gateways, cluster.store, cluster.qdrant_url, author, ledger, load.written
        )
    finally:
        stepping.cancel()
        keeping.cancel()
    return Run(
        began=began,
        ended=ended,
        visits=load.visits,
        steps=doing.done,
        ledger=ledger,
        aftermath=aftermath,
        verdicts=audit.verdicts(),
        restarts=cluster.restarts,
        store=cluster.store,
    )


async def _steps(doing: Steps, encoders: Encoders, seconds: float, over: asyncio.Event) -> None:
    """Each encoder: published, rolled back from, built again; once, and until the time is up.

    The last step leaves two encoders behind, both following the writes: live and retained.
    """
    until = time.time() + seconds
    try:
        for number, folder in enumerate(itertools.cycle(encoders.next)):
            await asyncio.sleep(REST_SECONDS)
            await doing.publish(folder)
            await asyncio.sleep(REST_SECONDS)
            await doing.roll_back()
            await asyncio.sleep(REST_SECONDS)
            await doing.refresh()
            if number == 0:
                await asyncio.sleep(REST_SECONDS)
                await doing.publish(encoders.worse, steps.Kind.WORSE)
            if number + 1 >= len(encoders.next) and time.time() >= until:
                break
        await asyncio.sleep(REST_SECONDS)
    finally:
        over.set()
