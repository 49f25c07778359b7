"""`realm model train-reader`: questions with known answers in, a starter out."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from realm.cli.eval import compute, progress_bars, read_given
from realm.cli.options import finite
from realm.cli.packages import MODEL_AND_DOCUMENTS, check_packages
from realm.errors import InvalidInput

if TYPE_CHECKING:
    from realm.recipes.reader import Plan


def train_reader_(
    documents: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE...",
            help=".jsonl file, or file or folder of .md, .txt, .rst, .html; several may follow."
            " Only documents that a question names take part",
        ),
    ],
    questions: Annotated[
        Path, typer.Option(help=".jsonl of question, answers and document_id to learn from")
    ],
    to: Annotated[Path, typer.Option(help="folder for the starter; written every few minutes")],
    more_documents: Annotated[
        list[Path] | None, typer.Argument(metavar="", show_default=False, hidden=True)
    ] = None,
    since: Annotated[
        Path | None, typer.Option("--from", help="folder of a starter to go on from")
    ] = None,
    epochs: Annotated[
        int,
        typer.Option(min=0, help="how often each question is read; 0: measure and calibrate only"),
    ] = 3,
    batch: Annotated[int, typer.Option(min=1, help="questions in a step")] = 16,
    lr: Annotated[
        float, typer.Option(min=0, callback=finite, help="AdamW's highest rate for the layers")
    ] = 1.5e-4,
    head_lr: Annotated[
        float,
        typer.Option(
            min=0,
            callback=finite,
            help="AdamW's highest rate for the span head, which begins fresh",
        ),
    ] = 3e-4,
    negatives: Annotated[
        float,
        typer.Option(
            min=0,
            max=4,
            callback=finite,
            help="other passages beside a question's own, in the mean",
        ),
    ] = 1,
    tokens: Annotated[int, typer.Option(min=32, help="longest reader input in training")] = 288,
    span_width: Annotated[int, typer.Option(min=1, help="longest answer, in word pieces")] = 16,
    dropout: Annotated[
        float, typer.Option(min=0, max=0.5, callback=finite, help="while it learns")
    ] = 0.1,
    cloze: Annotated[
        float,
        typer.Option(
            min=0,
            callback=finite,
            help="sentences with a span taken out that are read beside each question: so many at"
            " first, none at the end",
        ),
    ] = 0.5,
    cloze_documents: Annotated[
        list[Path] | None,
        typer.Option(help="file or folder for such sentences, beside the questions' documents"),
    ] = None,
    no_answer: Annotated[
        float,
        typer.Option(
            min=0,
            max=0.5,
            callback=finite,
            help="share of questions read where no answer is, to learn to say so",
        ),
    ] = 0.1,
    minutes_limit: Annotated[
        float,
        typer.Option(
            min=0, callback=finite, help="training ends by then, its rate decayed; 0: no limit"
        ),
    ] = 0,
    licence: Annotated[
        str, typer.Option(help="where the data is from and its licence, for the card")
    ] = "",
) -> None:
    """Train a reader on questions with known answers, beginning with the base's weights."""
    check_packages("realm model train-reader", MODEL_AND_DOCUMENTS)
    from realm.model.checkpoint import new_model
    from realm.objectives.taggers import make_tagger
    from realm.recipes.reader import Plan
    from realm.recipes.starter import continue_from, describe_files, make_starter
    from realm.settings import load_settings
    from realm.text.questions import read_questions

    if min(lr, head_lr) <= 0:
        raise InvalidInput("a learning rate of 0 learns nothing: give --lr and --head-lr above 0")
    settings = load_settings()
    plan = Plan(
        epochs=epochs,
        batch=batch,
        learning_rate=lr,
        head_learning_rate=head_lr,
        negatives=negatives,
        reader_tokens=tokens,
        max_span_width=span_width,
        dropout=dropout,
        cloze=cloze,
        no_answer=no_answer,
        seconds=minutes_limit * 60 or math.inf,
        seed=settings.trainer.seed,
    )
    files = [*documents, *(more_documents or [])]
    asked = read_questions(questions)
    given = read_given(files, settings)
    more = read_given(cloze_documents, settings) if cloze_documents else []
    device, dtype = compute(settings)
    model = new_model(
        settings.model.base_model or None,
        seed=settings.trainer.seed,
        starter=False,
        max_span_width=span_width,
    )
    before = continue_from(model, since) if since else None
    about = {
        "command": _command(files, questions, cloze_documents or [], plan, since),
        "data": describe_files([*files, *(cloze_documents or []), questions]),
        "licence_of_data": licence,
        "continues": before,
    }
    with progress_bars() as listener:
        card = make_starter(
            model,
            given,
            asked,
            plan,
            to,
            about,
            device=device,
            dtype=dtype,
            more=more,
            retrieval=settings.gateway.retrieval,
            tagger=make_tagger(settings.objectives.salient_tagger, device),
            progress=listener,
        )
    typer.echo(f"{to}: a starter of {card['training']['steps']} steps; {card['held_out']}")


def _command(
    documents: list[Path],
    questions: Path,
    cloze_documents: list[Path],
    plan: Plan,
    since: Path | None,
) -> str:
    """The call again, of every file its name alone: a card tells no one's paths."""
    options = {
        "epochs": plan.epochs,
        "batch": plan.batch,
        "lr": plan.learning_rate,
        "head-lr": plan.head_learning_rate,
        "negatives": plan.negatives,
        "tokens": plan.reader_tokens,
        "span-width": plan.max_span_width,
        "dropout": plan.dropout,
        "cloze": plan.cloze,
        "no-answer": plan.no_answer,
        "minutes-limit": 0 if math.isinf(plan.seconds) else plan.seconds / 60,
    }
    words = ["realm", "model", "train-reader", "--documents", *(file.name for file in documents)]
    words += ["--questions", questions.name, "--to", "starter"]
    words += [word for file in cloze_documents for word in ("--cloze-documents", file.name)]
    words += ["--from", since.name] if since else []
    for name, value in options.items():
        words += [f"--{name}", f"{value:g}"]
    return shlex.join(words)
