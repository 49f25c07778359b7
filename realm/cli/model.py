"""`realm model import` and `export`: transformers' REALM checkpoints in and out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from realm.cli.options import MODEL, check_new, check_packages, write_whole
from realm.cli.training import train_reader_, train_retriever_
from realm.errors import NotFound

Kind = Literal["embedder", "scorer", "encoder", "reader"]


def register(app: typer.Typer) -> None:
    model = typer.Typer(
        help="Train a reader or a retriever; take REALM checkpoints of transformers in, and out.",
        no_args_is_help=True,
    )
    model.command("import")(import_)
    model.command("export")(export)
    model.command("train-reader")(train_reader_)
    model.command("train-retriever")(train_retriever_)
    app.add_typer(model, name="model")


def import_(
    source: Annotated[
        str,
        typer.Argument(help="embedder, scorer, openqa or BERT-type base: folder or hub name"),
    ],
    to: Annotated[Path, typer.Option(help="new folder for the model")],
    reader: Annotated[
        str,
        typer.Option(
            help="what reads the passages: reader or openqa, or extractive QA checkpoint (BERT with"
            " start and end logits)"
        ),
    ] = "",
    mlm: Annotated[str, typer.Option(help="encoder whose head predicts masked words")] = "",
    query: Annotated[
        str,
        typer.Option(
            help="embedder or openqa that encodes questions, if another than SOURCE; a released"
            " openqa holds only a question encoder"
        ),
    ] = "",
    tokenizer: Annotated[
        str, typer.Option(help="folder or hub name of the tokenizer, if no checkpoint has it")
    ] = "",
    cross_encoder: Annotated[
        str,
        typer.Option(
            help="what re-ranks passages, in the reader's place: checkpoint for sequence"
            " classification with one output or two"
        ),
    ] = "",
    no_answer: Annotated[
        bool,
        typer.Option("--no-answer", help="the extractive QA reader knows questions without answer"),
    ] = False,
) -> None:
    """Make a model from checkpoints of transformers; what they lack begins fresh."""
    check_packages("realm model import", MODEL)
    from realm.model.base import find_folder, read_tokenizer
    from realm.model.checkpoint import write_model
    from realm.model.cross_encoder import load_cross_encoder
    from realm.model.hugging_face import import_model

    check_new(to)
    model = import_model(
        source,
        query=query or None,
        reader=reader or None,
        mlm=mlm or None,
        tokenizer=read_tokenizer(find_folder(tokenizer)) if tokenizer else None,
        no_answer=no_answer,
    )
    if cross_encoder:
        model = replace(model, cross_encoder=load_cross_encoder(cross_encoder))
    write_whole(to, lambda folder: write_model(folder, model))
    towers = "shared" if model.config.shared_towers else "separate"
    typer.echo(f"{to}: a model of {model.config.embedding_size} dimensions, towers {towers}")


def export(
    folder: Annotated[Path, typer.Argument(help="a model's or snapshot's folder")],
    to: Annotated[Path, typer.Option(help="new folder for the checkpoint")],
    kind: Annotated[Kind, typer.Option(help="which of transformers' REALM classes reads it")],
) -> None:
    """Write a part of a model as a REALM checkpoint that transformers up to 4.46 reads."""
    check_packages("realm model export", MODEL)
    from realm.model.checkpoint import load_model
    from realm.model.hugging_face import export_model

    check_new(to)
    if not folder.is_dir():
        raise NotFound(f"there is no folder {folder}: name a model's or snapshot's folder")
    model = load_model(folder)
    write_whole(to, lambda new: export_model(new, model, kind))
    typer.echo(f"{to}: a REALM {kind} for transformers up to 4.46")
