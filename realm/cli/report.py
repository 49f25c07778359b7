"""`realm report`: what happened in a run as one page, or as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from realm.cli.options import check_packages, open_store, settings_with
from realm.cli.output import output
from realm.errors import InvalidInput, NotFound

PACKAGES = dict.fromkeys(("plotly", "numpy", "obstore"), "report")


def register(app: typer.Typer) -> None:
    app.command()(report)


def report(
    html: Annotated[Path, typer.Option(help="write the page into this file")],
    json_file: Annotated[
        Path | None, typer.Option("--json", help="the report of a run: make run REPORT=file.json")
    ] = None,
    store: Annotated[
        str, typer.Option(help="or a store, for its whole history: a folder or s3:// URL")
    ] = "",
    title: Annotated[str, typer.Option(help="heading of the page")] = "realm: a run",
) -> None:
    """Write one HTML page with charts of lag, refreshes, gate and questions.

    It opens without a network.
    """
    if bool(json_file) == bool(store):
        raise InvalidInput("name one of --json FILE, a run's report, and --store FOLDER")
    check_packages("realm report", PACKAGES)
    from realm.reporting.page import page

    found = _read(json_file) if json_file else _remembered(store)
    html.parent.mkdir(parents=True, exist_ok=True)
    html.write_text(page(found, title), encoding="utf-8")
    output().print(f"{html}: {html.stat().st_size / 1e6:.1f} MB, opens in any browser")


def _read(file: Path) -> dict[str, Any]:
    """:raises InvalidInput: if it is not the report of a run."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {file}") from error
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{file} cannot be read as JSON: {error}") from error
    if not isinstance(found, dict) or "refreshes" not in found:
        raise InvalidInput(f"{file} is no run's report: make one by `make run REPORT=file.json`")
    return found


def _remembered(url: str) -> dict[str, Any]:
    """:raises NotFound: if no generation was ever made there."""
    from realm.records.generations import Generations
    from realm.records.snapshots import Snapshots
    from realm.reporting.history import history

    opened = open_store(settings_with(url))
    generations, snapshots = Generations(opened), Snapshots(opened)
    numbers = generations.numbers()
    if not numbers:
        raise NotFound(f"no generation was ever made in {url}: is it the right store?")
    began = generations.get(numbers[0]).created_at
    ended = max(
        *(each.at for each in generations.events(numbers[-1])),
        *(each.created_at for each in snapshots.all()),
        began,
    )
    return {"seconds": ended - began, **history(generations, snapshots, began, ended)}
