"""`realm model train-reader` and `train-retriever`: documents and questions in, a model out."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from realm.cli.eval import (
    Documents,
    MoreDocuments,
    both,
    compute,
    progress_bars,
    read_given,
)
from realm.cli.options import MODEL_AND_DOCUMENTS, check_new, check_packages, finite, write_whole
from realm.errors import InvalidInput
from realm.settings import Settings, load_settings

if TYPE_CHECKING:
    from realm.corpus.documents import Document
    from realm.model.checkpoint import Model

#: The setting that holds the batch size of each recipe's objective.
BATCH_SETTINGS = {
    "ict": "inverse_cloze_batch",
    "dpr": "dpr_batch",
    "realm": "masked_lm_batch",
    "open-qa": "open_qa_batch",
}


def _number(meaning: str, most: float | None = None) -> Any:
    return typer.Option(min=0, max=most, callback=finite, help=meaning)


def train_reader_(
    context: typer.Context,
    documents: Documents,
    questions: Annotated[
        Path, typer.Option(help=".jsonl of question, answers and document_id to learn from")
    ],
    to: Annotated[Path, typer.Option(help="folder for the starter; written every few minutes")],
    more_documents: MoreDocuments = None,
    since: Annotated[
        Path | None, typer.Option("--from", help="folder of a starter to continue from")
    ] = None,
    epochs: Annotated[
        int,
        typer.Option(min=0, help="how often each question is read; 0: measure and calibrate only"),
    ] = 3,
    batch: Annotated[int, typer.Option(min=1, help="questions in a step")] = 16,
    lr: Annotated[float, _number("AdamW's peak learning rate for the layers")] = 1.5e-4,
    head_lr: Annotated[
        float, _number("AdamW's peak learning rate for the span head, which starts untrained")
    ] = 3e-4,
    negatives: Annotated[
        float, _number("other passages read beside a question's own, on average", most=4)
    ] = 1,
    tokens: Annotated[int, typer.Option(min=32, help="longest reader input in training")] = 288,
    span_width: Annotated[int, typer.Option(min=1, help="longest answer, in word pieces")] = 16,
    dropout: Annotated[float, _number("dropout in training", most=0.5)] = 0.1,
    cloze: Annotated[
        float,
        _number(
            "sentences with a span removed that are read beside each question, at first; their"
            " share falls to none"
        ),
    ] = 0.5,
    cloze_documents: Annotated[
        list[Path] | None,
        typer.Option(help="file or folder for such sentences, beside the questions' documents"),
    ] = None,
    passage_scores: Annotated[
        bool,
        typer.Option(
            "--passage-scores", help="teach a head that scores passages, by which they re-rank"
        ),
    ] = False,
    no_answer: Annotated[
        float,
        _number("share of questions read where no answer is, to learn to say so", most=0.5),
    ] = 0.1,
    minutes_limit: Annotated[
        float, _number("end training by then, with its learning rate decayed; 0: no limit")
    ] = 0,
    licence: Annotated[
        str, typer.Option(help="source and licence of the data, for the model card")
    ] = "",
) -> None:
    """Train a reader on questions with known answers, starting from the base's weights.

    Only documents that a question names take part.
    """
    check_packages("realm model train-reader", MODEL_AND_DOCUMENTS)
    from realm.evaluation.systems import make_system
    from realm.model.checkpoint import new_model
    from realm.objectives.taggers import make_tagger
    from realm.recipes.reader import ReaderPlan
    from realm.recipes.starter import StarterData, continue_from, describe_files, make_starter
    from realm.text.questions import read_questions

    if min(lr, head_lr) <= 0:
        raise InvalidInput("a learning rate of 0 learns nothing: give --lr and --head-lr above 0")
    settings = load_settings()
    plan = ReaderPlan(
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
    files = both(documents, more_documents)
    asked = read_questions(questions)
    given = read_given(files, settings)
    more = read_given(cloze_documents, settings) if cloze_documents else []
    device, dtype = compute(settings)
    model = new_model(
        settings.model.base_model or None,
        seed=settings.trainer.seed,
        starter=False,
        max_span_width=span_width,
        passage_scores=passage_scores,
    )
    before = continue_from(model, since) if since else None
    about = {
        "command": _call_of(context, files),
        "data": describe_files([*files, *(cloze_documents or []), questions]),
        "licence_of_data": licence,
        "continues": before,
    }
    system = make_system(model, "starter", 0, device, dtype)
    system = replace(system, retrieval=settings.gateway.retrieval)
    with progress_bars() as listener:
        card = make_starter(
            model,
            system,
            StarterData(given, asked, more),
            plan,
            to,
            about,
            tagger=make_tagger(settings.objectives.salient_tagger, device),
            progress=listener,
        )
    typer.echo(f"{to}: a starter of {card['training']['steps']} steps; {card['held_out']}")


def train_retriever_(
    context: typer.Context,
    recipe: Annotated[
        Literal["ict", "dpr", "realm", "open-qa"],
        typer.Option(
            help="ict: inverse cloze; dpr: questions with hard negatives; realm: masked LM over a"
            " refreshed index, after a warm start by inverse cloze; open-qa: its fine-tuning, the"
            " query encoder alone, over an index that stays"
        ),
    ],
    documents: Documents,
    to: Annotated[Path, typer.Option(help="new folder for the model")],
    more_documents: MoreDocuments = None,
    questions: Annotated[
        Path | None,
        typer.Option(help="dpr, open-qa: .jsonl of question, answers and, if known, document_id"),
    ] = None,
    leave_out: Annotated[
        Path | None,
        typer.Option(
            help="questions kept for measuring: documents that they name, and others of the same"
            " titles, are not learnt from"
        ),
    ] = None,
    since: Annotated[
        Path | None,
        typer.Option("--from", help="folder of a model to continue from, instead of the base"),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="steps by the recipe's own objective")] = 400,
    warm_start: Annotated[
        int, typer.Option(min=0, help="realm: steps of inverse cloze before")
    ] = 100,
    batch: Annotated[
        int, typer.Option(min=2, help="examples in a step of the recipe's own objective")
    ] = 16,
    refresh_every: Annotated[
        int, typer.Option(min=1, help="dpr, realm: steps between two refreshes of the index")
    ] = 100,
    lr: Annotated[float, _number("AdamW's peak learning rate for the retriever")] = 2e-5,
    minutes_limit: Annotated[float, _number("end training by then; 0: no limit")] = 0,
    keep_trained_reader: Annotated[
        bool,
        typer.Option(
            "--keep-trained-reader",
            help="realm, open-qa: write the reader as trained, not the first one",
        ),
    ] = False,
) -> None:
    """Train a retriever on documents by the recipe of ORQA, DPR or REALM."""
    check_packages("realm model train-retriever", MODEL_AND_DOCUMENTS)
    from realm.evaluation.systems import CARD_FILE, Recipe
    from realm.model.checkpoint import with_own_query_encoder, write_model
    from realm.recipes.retriever import RetrieverPlan, train_retriever
    from realm.recipes.starter import describe_files
    from realm.text.questions import read_questions

    check_new(to)
    plan = RetrieverPlan(
        recipe=Recipe(recipe),
        steps=steps,
        warm_start_steps=warm_start,
        refresh_every=refresh_every,
        learning_rate=lr,
        seconds=minutes_limit * 60 or math.inf,
        keep_trained_reader=keep_trained_reader,
    )
    settings = load_settings(**{BATCH_SETTINGS[recipe]: batch})
    files = both(documents, more_documents)
    given = read_given(files, settings)
    asked = read_questions(questions) if questions else []
    if leave_out is not None:
        given = without(given, {one.document_id for one in read_questions(leave_out)}, leave_out)
    device, _ = compute(settings)
    model = _begin(settings, since)
    if plan.recipe is Recipe.OPEN_QA:
        model = with_own_query_encoder(model)
    model.retriever.to(device)
    model.reader.to(device)
    with progress_bars() as listener:
        card = train_retriever(model, given, asked, plan, settings, progress=listener)
    named = [one for one in (questions, leave_out) if one is not None]
    card |= {
        "command": _call_of(context, files),
        "data": describe_files([*files, *named]),
    }

    def write(folder: Path) -> None:
        write_model(folder, model)
        (folder / CARD_FILE).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")

    write_whole(to, write)
    taken = ", ".join(f"{one['steps']} steps of {one['objective']}" for one in card["phases"])
    typer.echo(f"{to}: {taken}; measure it with `realm eval --system {recipe} --model {to}`")


def without(
    documents: list[Document], kept_back: set[str | None], named_by: Path
) -> list[Document]:
    """Documents of other titles than those kept back; one without a title is like no other.

    :raises InvalidInput: if none is left, or none is kept back: the questions ask about others.
    """
    titles = {one.title for one in documents if one.id in kept_back} - {""}
    if not any(one.id in kept_back for one in documents):
        raise InvalidInput(
            f"no question of {named_by} names one of the documents given, so none would be left"
            " out: give questions with the document_id of these documents, or no --leave-out"
        )
    left = [one for one in documents if one.id not in kept_back and one.title not in titles]
    if not left:
        raise InvalidInput("every document is left out: give documents of other titles too")
    return left


def _begin(settings: Settings, since: Path | None) -> Model:
    from realm.model.checkpoint import load_model
    from realm.model.publishing import load_source, with_tower_settings

    model = load_source(settings.model.base_model, settings) if since is None else load_model(since)
    return with_tower_settings(model, settings)


def _call_of(context: typer.Context, documents: Sequence[Path]) -> str:
    """The call with every option as it counted, each file by its name alone: a model card reveals
    no paths."""
    words = ["realm", "model", str(context.info_name), "--documents", *map(_word, documents)]
    for option in context.command.params:
        if option.name in (None, "documents", "more_documents"):
            continue
        value = context.params[option.name]
        for each in value if isinstance(value, list) else [value]:
            if each is not None and each is not False and each != "":
                words += [option.opts[0]] if each is True else [option.opts[0], _word(each)]
    return shlex.join(words)


def _word(value: object) -> str:
    if isinstance(value, Path):
        return value.name
    return f"{value:g}" if isinstance(value, float) else str(value)
