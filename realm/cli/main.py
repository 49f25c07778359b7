"""The command `realm`. Errors are one sentence on stderr."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from realm import __version__
from realm.cli import (
    adopt,
    corpus,
    doctor,
    eval,
    index,
    keys,
    mcp,
    model,
    plan,
    questions,
    report,
    settings,
    store,
    up,
    watch,
)
from realm.cli.output import replace_what_the_encoding_lacks
from realm.errors import FailedPrecondition, RealmError

app = typer.Typer(
    help="Retrieval whose index keeps up with a model that never stops learning.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
for group in (
    *(up, index, watch, report, questions, corpus, model, eval, store, keys, mcp, settings),
    *(doctor, plan, adopt),
):
    group.register(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Ends the process: 0, 1 for an error, 2 for wrong usage, 130 for Ctrl-C."""
    replace_what_the_encoding_lacks()
    try:
        _check_folder()
        # What commands return is None, or the exit code of a command that left early.
        sys.exit(app(args=arguments, prog_name="realm", standalone_mode=False))
    except RealmError as error:
        sys.exit(_fail(error.message, 1))
    except TyperException as error:
        sys.exit(_fail(_sentence(error), error.exit_code))
    except typer.Abort:
        sys.exit(_fail("aborted", 1))


def _fail(message: str, code: int) -> int:
    if message:
        sys.stderr.write(f"realm: {message}\n")
    return code


def _sentence(error: TyperException) -> str:
    """The fault in usage, with the command that explains it; empty where help was printed."""
    message = " ".join(error.format_message().split()).removesuffix(".")
    if not message:
        return ""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "realm"
    return f"{message[0].lower()}{message[1:]}; see `{command} --help`"


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
