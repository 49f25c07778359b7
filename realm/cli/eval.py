"""`realm eval`: how well a model finds and reads, measured in this process by exact search."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from realm.cli.options import MODEL_AND_DOCUMENTS, check_packages, open_store
from realm.cli.output import Terminal, fields_table
from realm.errors import InvalidInput
from realm.retrieval import Retrieval

if TYPE_CHECKING:
    import torch

    from realm.corpus.documents import Document
    from realm.evaluation.report import Report
    from realm.evaluation.systems import System
    from realm.settings import Settings
    from realm.text.questions import Question

CLOSED_BOOK = "closed-book"
_TRAINED = ("ict", "dpr", "realm", "open-qa")


#: `--documents a b c`: an option takes one file, the others are arguments.
Documents = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE...",
        help=".jsonl file, or file or folder of .md, .txt, .rst, .html; several may follow",
    ),
]
MoreDocuments = Annotated[
    list[Path] | None, typer.Argument(metavar="", show_default=False, hidden=True)
]


def both(documents: list[Path] | None, more: list[Path] | None) -> list[Path]:
    return [*(documents or []), *(more or [])]


def register(app: typer.Typer) -> None:
    app.command("eval")(eval_)


def eval_(
    questions: Annotated[
        Path,
        typer.Option(
            help=".jsonl of question with answers (or answer_pattern) and, if known, document_id"
        ),
    ],
    documents: Documents = None,
    more_documents: MoreDocuments = None,
    system: Annotated[
        str | None,
        typer.Option(
            show_default="base",
            help="base: the model at step 0; bm25, hybrid, rank_fusion: words rank too; ict,"
            " dpr, realm, open-qa: trained, with --model; closed-book: --model answers without"
            " documents",
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="folder of `realm model train-retriever`; of closed-book: folder or hub name"
        ),
    ] = "",
    snapshot: Annotated[
        str, typer.Option(help="a snapshot's number, or latest, instead of a system")
    ] = "",
    store: Annotated[str, typer.Option(help="URL of the store that has the snapshot")] = "",
    retrieval: Annotated[
        Retrieval | None,
        typer.Option(help="how passages are chosen, instead of the system's own way"),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="use only this many questions, from the start of the file"),
    ] = None,
    passages: Annotated[int, typer.Option(min=1, help="passages read for each question")] = 5,
    rerank: Annotated[
        int, typer.Option(min=0, help="let the reader re-rank so many of the best; 0: none")
    ] = 0,
    cross_encoder: Annotated[
        str,
        typer.Option(help="re-rank with this cross-encoder (folder or hub name), not the reader"),
    ] = "",
    no_starter: Annotated[
        bool, typer.Option("--no-starter", help="base with a fresh reader, not the shipped one")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="write all figures into this file")
    ] = None,
) -> None:
    """Measure recall, exact match, F1 and latency of a model on questions with known answers."""
    check_packages("realm eval", MODEL_AND_DOCUMENTS)
    _check_choice(system, snapshot, model, retrieval)
    from realm.evaluation.evaluate import evaluate
    from realm.settings import load_settings
    from realm.text.questions import read_questions

    chosen: dict[str, object] = {"store_url": store} if store else {}
    settings = load_settings(**chosen, **({"starter": False} if no_starter else {}))
    asked = read_questions(questions, limit)
    check_writable(json_file)
    if system == CLOSED_BOOK:
        report = _closed_book(settings, model, asked)
    else:
        given = read_given(both(documents, more_documents), settings)
        _warn_of_unknown(asked, given)
        chosen_system = _load_system(settings, system or "base", snapshot, model)
        if retrieval is not None:
            name = f"{chosen_system.name} ({retrieval})"
            chosen_system = replace(chosen_system, name=name, retrieval=retrieval)
        chosen_system = replace(chosen_system, rerank=rerank)
        if cross_encoder:
            chosen_system = _with_cross_encoder(chosen_system, cross_encoder)
        with progress_bars() as listener:
            report = evaluate(chosen_system, given, asked, passages=passages, progress=listener)
    if json_file is not None:
        json_file.write_text(json.dumps(report.to_json(), indent=2) + "\n", encoding="utf-8")
    _print_table(report)


def _check_choice(
    system: str | None, snapshot: str, model: str, retrieval: Retrieval | None
) -> None:
    """:raises InvalidInput: if one of the options would be ignored."""
    if snapshot and system is not None:
        raise InvalidInput(
            f"--snapshot {snapshot} and --system {system} are two models: give one of them; what"
            f" ranks a snapshot's passages is --retrieval {', '.join(Retrieval)}"
        )
    if model and (snapshot or system in (None, "base", *Retrieval)):
        raise InvalidInput(
            f"--model {model} goes with --system {', '.join(_TRAINED)} or closed-book, which were"
            " not asked for"
        )
    if retrieval is not None and system == CLOSED_BOOK:
        raise InvalidInput("closed-book retrieves nothing: leave --retrieval out")


def _warn_of_unknown(asked: list[Question], given: list[Document]) -> None:
    """Warns of questions about documents that were not given, which lower the figures."""
    known = {one.id for one in given}
    unknown = [one.document_id for one in asked if one.document_id and one.document_id not in known]
    if unknown:
        typer.echo(
            f"{len(unknown)} of {len(asked)} questions name a document that was not given, first"
            f" {unknown[0]}: by document, they count as not found",
            err=True,
        )


def check_writable(file: Path | None) -> None:
    if file is not None and not (file.parent.is_dir() and os.access(file.parent, os.W_OK)):
        raise InvalidInput(f"{file} cannot be written: name a file in a writable folder")


def read_given(paths: list[Path], settings: Settings) -> list[Document]:
    from realm.corpus.importers import Problem, describe_skipped, read_documents

    if not paths:
        raise InvalidInput("there is nothing to search: give --documents FILE")
    found: list[Document] = []
    reading = read_documents(paths, max_bytes=settings.corpus.max_document_bytes)
    for item in reading:
        if isinstance(item, Problem):
            typer.echo(f"left out: {item}", err=True)
        else:
            found.append(item)
    if reading.skipped:
        typer.echo(describe_skipped(reading.skipped), err=True)
    if not found:
        raise InvalidInput(f"no document in {', '.join(map(str, paths))}: nothing can be found")
    return found


def compute(settings: Settings) -> tuple[torch.device, torch.dtype]:
    """Sets the number of threads; returns the device and number format to compute with."""
    from realm.model import runtime

    # This process is not one of many services: it takes every core unless set otherwise.
    given = "threads" in settings.given()
    runtime.set_threads(settings.process.threads if given else os.cpu_count() or 1)
    device = runtime.pick_device(settings.process.device)
    return device, runtime.best_dtype(device)


def _closed_book(settings: Settings, name: str, asked: list[Question]) -> Report:
    from realm.evaluation.closed_book import evaluate_closed_book, load_closed_book

    device, _ = compute(settings)
    book = load_closed_book(name, device)
    with progress_bars() as listener:
        return evaluate_closed_book(book, asked, progress=listener)


def _load_system(settings: Settings, system: str, snapshot: str, model: str) -> System:
    from realm.evaluation import systems

    device, dtype = compute(settings)
    if snapshot:
        if snapshot != systems.NEWEST and not snapshot.isdecimal():
            raise InvalidInput(f"snapshot {snapshot!r} is neither a number nor latest")
        store = open_store(settings)
        return systems.snapshot_system(*systems.find_snapshot(store, snapshot), device, dtype)
    if system in set(systems.Recipe):
        folder = Path(model) if model else None
        return systems.trained_system(systems.Recipe(system), folder, device, dtype)
    if system not in set(systems.Baseline):
        raise InvalidInput(
            f"there is no system {system!r}: give {', '.join(systems.Baseline)},"
            f" {', '.join(systems.Recipe)}, closed-book, or --snapshot with a number or latest"
        )
    base = systems.base_system(settings, device, dtype)
    return replace(base, name=system, retrieval=systems.Baseline(system).retrieval)


def _with_cross_encoder(system: System, name: str) -> System:
    from realm.model.cross_encoder import load_cross_encoder

    if not system.rerank:
        raise InvalidInput(f"--cross-encoder {name} re-ranks nothing: give --rerank 10 or so")
    found = load_cross_encoder(name).to(system.reader.device)
    return replace(system, cross_encoder=found)


@contextmanager
def progress_bars() -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """One bar for each piece of work, on stderr."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=Terminal(stderr=True)) as bars:

        def listener(name: str) -> Callable[[int, int], None]:
            bar = bars.add_task(name, total=None)
            return lambda done, total: bars.update(bar, completed=done, total=total)

        yield listener


def _print_table(report: Report) -> None:
    table = fields_table(report.rows())
    table.title = report.system
    Terminal().print(table)
