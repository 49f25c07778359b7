"""`realm model train-retriever`: documents in, a model by one of the literature's recipes out."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from realm.cli.eval import compute, progress_bars, read_given
from realm.cli.folders import check_new, write_whole
from realm.cli.options import finite
from realm.cli.packages import MODEL_AND_DOCUMENTS, check_packages
from realm.errors import InvalidInput

if TYPE_CHECKING:
    from realm.corpus.documents import Document
    from realm.model.checkpoint import Model
    from realm.recipes.retriever import Plan
    from realm.settings import Settings


def train_retriever_(
    recipe: Annotated[
        Literal["ict", "dpr", "realm", "open-qa"],
        typer.Option(
            help="ict: inverse cloze; dpr: questions with hard negatives; realm: masked LM over a"
            " refreshed index, after a warm start by inverse cloze; open-qa: its fine-tuning, the"
            " query encoder alone, over an index that stays"
        ),
    ],
    documents: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE...",
            help=".jsonl file, or file or folder of .md, .txt, .rst, .html; several may follow",
        ),
    ],
    to: Annotated[Path, typer.Option(help="new folder for the model")],
    more_documents: Annotated[
        list[Path] | None, typer.Argument(metavar="", show_default=False, hidden=True)
    ] = None,
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
        Path | None, typer.Option("--from", help="folder of a model to go on from, not the base")
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
    lr: Annotated[
        float, typer.Option(min=0, callback=finite, help="AdamW's highest rate for the retriever")
    ] = 2e-5,
    minutes_limit: Annotated[
        float, typer.Option(min=0, callback=finite, help="training ends by then; 0: no limit")
    ] = 0,
    keep_trained_reader: Annotated[
        bool,
        typer.Option(
            "--keep-trained-reader",
            help="realm, open-qa: write the reader that learnt along, not the first",
        ),
    ] = False,
) -> None:
    """Train a retriever on documents by the recipe of ORQA, DPR or REALM."""
    check_packages("realm model train-retriever", MODEL_AND_DOCUMENTS)
    from realm.evaluation.systems import CARD_FILE, Recipe
    from realm.model.checkpoint import with_own_query_encoder, write_model
    from realm.recipes.retriever import Plan, train_retriever
    from realm.recipes.starter import describe_files
    from realm.settings import load_settings
    from realm.text.questions import read_questions

    check_new(to)
    plan = Plan(
        recipe=Recipe(recipe),
        steps=steps,
        warm_start_steps=warm_start,
        refresh_every=refresh_every,
        learning_rate=lr,
        seconds=minutes_limit * 60 or math.inf,
        keep_trained_reader=keep_trained_reader,
    )
    settings = load_settings(**{_BATCH[recipe]: batch})
    files = [*documents, *(more_documents or [])]
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
        "command": _command(files, questions, leave_out, since, plan, batch),
        "data": describe_files([*files, *named]),
    }

    def write(folder: Path) -> None:
        write_model(folder, model)
        (folder / CARD_FILE).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")

    write_whole(to, write)
    taken = ", ".join(f"{one['steps']} steps of {one['objective']}" for one in card["phases"])
    typer.echo(f"{to}: {taken}; measure it with `realm eval --system {recipe} --model {to}`")


_BATCH = {
    "ict": "inverse_cloze_batch",
    "dpr": "dpr_batch",
    "realm": "masked_lm_batch",
    "open-qa": "open_qa_batch",
}


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


def _command(
    documents: list[Path],
    questions: Path | None,
    leave_out: Path | None,
    since: Path | None,
    plan: Plan,
    batch: int,
) -> str:
    """The call again, of every file its name alone: a card tells no one's paths."""
    options = {
        "steps": plan.steps,
        "warm-start": plan.warm_start_steps,
        "batch": batch,
        "refresh-every": plan.refresh_every,
        "lr": plan.learning_rate,
        "minutes-limit": 0 if math.isinf(plan.seconds) else plan.seconds / 60,
    }
    words = ["realm", "model", "train-retriever", "--recipe", plan.recipe.value]
    words += ["--documents", *(file.name for file in documents)]
    for name, file in (("questions", questions), ("leave-out", leave_out), ("from", since)):
        words += [f"--{name}", file.name] if file else []
    for name, value in options.items():
        words += [f"--{name}", f"{value:g}"]
    words += ["--keep-trained-reader"] if plan.keep_trained_reader else []
    return shlex.join([*words, "--to", plan.recipe.value])
