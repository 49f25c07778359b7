"""`realm plan`: what a move to another model takes, before it is begun."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from realm.cli.options import (
    MODEL,
    MOST,
    STORE,
    AsJson,
    StoreUrl,
    check_packages,
    finite,
    open_store,
    settings_with,
)
from realm.cli.output import Row, fields_table, messages, show, size
from realm.errors import FailedPrecondition, NotFound
from realm.reporting.move import Measured, Move, Tried, estimate

if TYPE_CHECKING:
    from realm.corpus.table import DocumentState
    from realm.model.checkpoint import Model
    from realm.records.generation import Generation
    from realm.records.store import Store

#: Documents that both models are tried on, of at most so many characters together.
SAMPLE, SAMPLE_CHARACTERS = 64, 200_000
#: Phases of a refresh that are neither waiting nor embedding.
OTHERS = ("load", "optimize", "validate", "swap", "flip")


def register(app: typer.Typer) -> None:
    app.command()(plan)


def plan(
    model: Annotated[str, typer.Argument(help="as of `realm snapshots publish`")],
    embedders: Annotated[int, typer.Option(help="embedders at work", min=1, max=MOST)] = 1,
    copies: Annotated[
        int, typer.Option(help="copies of a collection in Qdrant", min=1, max=MOST)
    ] = 1,
    price: Annotated[
        float, typer.Option(help="of an embedder's hour", min=0, callback=finite)
    ] = 0.0,
    store: StoreUrl = "",
    as_json: AsJson = False,
) -> None:
    """Say what a move to another model takes: time, cost, disk, memory. Changes nothing.

    The rates are those of this cluster's own refreshes, times how much longer the model takes for
    some of its documents than the live one does.
    """
    check_packages("realm plan", {**STORE, **MODEL})
    from realm.model.publishing import load_source
    from realm.records.generations import Generations

    settings = settings_with(store)
    opened = open_store(settings)
    generations = Generations(opened)
    live = generations.live()
    made = generations.get(live.generation) if live else None
    if made is None or made.words_alone:
        raise FailedPrecondition("nothing with vectors is live yet that could be compared with")
    documents = sample(opened, made)
    with messages().status(f"reading {escape(model)}"):
        before, after = _live_model(opened, made), load_source(model, settings)
    with messages().status("trying both"):
        now, other = tried(before, documents), tried(after, documents)
    move = estimate(
        measured(opened, made), now, other, embedders=embedders, copies=copies,
        same_cut=before.inputs.fingerprint == after.inputs.fingerprint,
    )  # fmt: skip
    result = _result(move, now, other, price)
    show(result, as_json, fields_table(_words(move, now, other, price)))


def sample(store: Store, generation: Generation) -> list[DocumentState]:
    """Some documents of the live generation's first files, as they are now.

    :raises NotFound: if there are none any more.
    """
    from realm.corpus.table import CorpusTable
    from realm.records import arrow

    table = CorpusTable(store)
    found: list[DocumentState] = []
    characters = 0
    for path in generation.passage_files:
        names = dict.fromkeys(arrow.read_table(store, path)["document_id"].to_pylist())
        for name in islice(names, SAMPLE - len(found)):
            if (state := table.lookup(name)()) is not None and state.document is not None:
                found.append(state)
                characters += len(state.document.text)
        if len(found) >= SAMPLE or characters >= SAMPLE_CHARACTERS:
            break
    if not found:
        raise NotFound("the live generation's documents are all gone")
    return found


def tried(model: Model, documents: list[DocumentState]) -> Tried:
    """The model's passages of the documents, and how long it takes to encode them here."""
    from realm.corpus.passages import split_document
    from realm.model.frozen_encoder import encode

    passages = [
        passage
        for state in documents
        if state.document is not None
        for passage in split_document(state.document, state.version, model.inputs)
    ]
    inputs = [model.inputs.passage(each.title_ids, each.body_ids) for each in passages]
    encoder = model.retriever.passage
    encode(encoder, inputs[:1], model.inputs.pad)  # the first call allocates
    began = time.perf_counter()
    encode(encoder, inputs, model.inputs.pad)
    seconds = time.perf_counter() - began
    parts = (*model.retriever.parameters(), *model.reader.parameters())
    weights = {each.data_ptr(): each.nbytes for each in parts}
    return Tried(len(passages), seconds, encoder.embedding_size, sum(weights.values()))


def measured(store: Store, generation: Generation) -> Measured:
    """What the generation has, and what the refresh that made it took."""
    from realm.records.generations import Generations
    from realm.records.snapshots import Snapshots
    from realm.records.states import phases_in
    from realm.records.vectors import vector_file

    generations = Generations(store)
    reports = [event.report for event in generations.events(generation.number)]
    phases = {name: seconds for each in reports for name, seconds in phases_in(each).items()}
    rates = [each["passages_per_second"] for each in reports if "passages_per_second" in each]
    name = Snapshots(store).get(generation.snapshot).name
    vectors = {vector_file(name, path) for path in generation.passage_files}
    sizes = {each.path: each.size for each in store.entries("passages")}
    sizes |= {each.path: each.size for each in store.entries("vectors")}
    return Measured(
        generations.points(generation.number) or 0,
        rates[-1] if rates else None,
        sum(phases.get(each, 0.0) for each in OTHERS),
        sum(sizes.get(path, 0) for path in generation.passage_files),
        sum(sizes.get(path, 0) for path in vectors),
    )


def _live_model(store: Store, generation: Generation) -> Model:
    from realm.model.checkpoint import load_model
    from realm.records.snapshots import Snapshots

    snapshots = Snapshots(store)
    return load_model(snapshots.materialise(snapshots.get(generation.snapshot)))


def _result(move: Move, now: Tried, other: Tried, price: float) -> dict[str, object]:
    return {
        "passages": move.passages,
        "embedding_seconds": move.embedding_seconds,
        "seconds": move.seconds,
        "cost": move.cost(price),
        "store_bytes": move.store_bytes,
        "qdrant_bytes": move.qdrant_bytes,
        "qdrant_bytes_meanwhile": move.qdrant_bytes_meanwhile,
        "vector_size": other.size,
        "times_as_slow": other.seconds / now.seconds,
    }


def _words(move: Move, now: Tried, other: Tried, price: float) -> list[Row]:
    rows: list[Row] = [
        ("passages", f"{move.passages}, of {other.size} dimensions (live: {now.size})"),
        ("a document's work", f"{other.seconds / now.seconds:.2f} times that of the live model"),
        (
            "time",
            f"{_duration(move.seconds)}; embedding: {_duration(move.embedding_seconds)} of one",
        ),
        ("store", f"{size(move.store_bytes)} more, until what was live is collected"),
        (
            "Qdrant's memory",
            f"{size(move.qdrant_bytes)}, and {size(move.qdrant_bytes_meanwhile)} at first",
        ),
    ]
    if price:
        rows.append(("cost", f"{move.cost(price):.2f}"))
    return rows


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
