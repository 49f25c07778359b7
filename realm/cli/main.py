"""The command `realm`. Errors are one sentence on stderr."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from realm import __version__
from realm.cli import (
    corpus,
    eval,
    gc,
    index,
    model,
    questions,
    recorded,
    report,
    settings,
    snapshots,
    up,
    watch,
)
from realm.cli.terminal import replace_what_the_encoding_lacks
from realm.errors import FailedPrecondition, RealmError

app = typer.Typer(
    help="Retrieval whose index keeps up with a model that never stops learning.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
PARTS = (
    up, index, watch, report, questions, corpus, model, eval, snapshots, gc, recorded, settings,
)  # fmt: skip
for part in PARTS:
    part.register(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Ends the process: 0, 1 for an error, 2 for wrong usage, 130 for Ctrl-C."""
    replace_what_the_encoding_lacks()
    try:
        _check_folder()
        app(args=arguments)
    except RealmError as error:
        sys.stderr.write(f"realm: {error.message}\n")
        sys.exit(1)


def _check_folder() -> None:
    """Libraries fail obscurely without one.

    :raises FailedPrecondition: if the working directory was deleted.
    """
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise FailedPrecondition(
            "the working directory does not exist any more: change to one that does"
        ) from error


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="print the version and end")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


if __name__ == "__main__":
    main()
