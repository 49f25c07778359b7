"""`realm recorded`: what is kept of the questions that users asked, and its end."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from realm.cli.format import duration
from realm.cli.json_output import to_json
from realm.cli.options import AsJson, messages, output
from realm.cli.packages import check_packages
from realm.cli.stores import StoreUrl, open_store, settings_with

NEEDS = {"obstore": "service", "pyarrow": "service"}


def register(app: typer.Typer) -> None:
    recorded = typer.Typer(
        help="Users' questions, if REALM_RECORD_QUESTIONS keeps any.", no_args_is_help=True
    )
    recorded.command("list")(list_)
    recorded.command()(forget)
    app.add_typer(recorded, name="recorded")


def list_(store: StoreUrl = "", as_json: AsJson = False) -> None:
    """List the questions in the store, newest first."""
    check_packages("realm recorded", NEEDS)
    from realm.records.recorded_questions import RecordedQuestions

    found = RecordedQuestions(open_store(settings_with(store))).all()
    if as_json:
        rows = [
            {
                "question": each.question, "document_id": each.document_id,
                "snapshot": each.snapshot, "asked_at": each.asked_at,
            }
            for each in found
        ]  # fmt: skip
        output().out(to_json(rows))
        return
    for each in found:
        age = duration(max(0.0, time.time() - each.asked_at))
        output().print(f"{age} ago: {each.question} ({each.document_id})", markup=False)
    if not found:
        output().print("No question is recorded.")


def forget(
    texts: Annotated[
        list[str] | None, typer.Argument(help="forget questions with this in them")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="forget every question")] = False,
    store: StoreUrl = "",
) -> None:
    """Delete recorded questions, those that share a file with them, and what was made of them for
    the gate. Exit with 1 while an index is being built that is to be probed with one."""
    if bool(texts) == every:
        raise typer.BadParameter("give a piece of the questions to forget, or --all")
    check_packages("realm recorded", NEEDS)
    from realm.records.generations import Generations
    from realm.records.recorded_questions import RecordedQuestions

    opened = open_store(settings_with(store))
    building = RecordedQuestions(opened).forget(None if every else texts, Generations(opened))
    if building:
        numbers = ", ".join(map(str, building))
        messages().print(f"generation {numbers} is being built with one: forget again when it ends")
        raise typer.Exit(1)
    output().print("Forgotten. Nothing of what was not written yet is written.")
