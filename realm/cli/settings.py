"""`realm settings`: every setting, its value in force, where that came from, what it means."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

import typer
from rich.table import Table
from rich.text import Text

from realm.cli.json_output import to_json
from realm.cli.options import AsJson, output
from realm.settings import FLAT, Settings, field_of, load_settings, variable

MASK = "***"
PIPE_WIDTH = 400
SECRET = re.compile(r"(^|_)(key|secret|password|token)($|_)")


def register(app: typer.Typer) -> None:
    app.command("settings")(show)


def show(as_json: AsJson = False) -> None:
    """List every setting with its value, origin, default and meaning."""
    found = rows(load_settings())
    console = output()
    if as_json:
        console.out(to_json(found))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    # Names are whole, to be copied and searched for; in a pipe, lines are.
    for heading in ("variable", "value", "from", "meaning"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "variable")
    for row in found:
        table.add_row(*map(Text, (row["variable"], str(row["value"]), _from(row), row["meaning"])))
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    console.print(table)


def rows(settings: Settings) -> list[dict[str, Any]]:
    """One row a setting; secrets are masked."""
    found = []
    given = settings.given()
    for name in FLAT:
        field = field_of(name)
        found.append(
            {
                "variable": variable(name),
                "value": masked(name, settings.get(name)),
                "from": _origin(given, name),
                "default": masked(name, field.default),
                "meaning": field.description or "",
            }
        )
    return found


def masked(name: str, value: Any) -> Any:
    """Hides keys, and the user's part of URLs."""
    if value and SECRET.search(name) and isinstance(value, str):
        return MASK
    if isinstance(value, str) and "@" in (parts := urlsplit(value)).netloc:
        host = parts.netloc.rpartition("@")[2]
        return parts._replace(netloc=f"{MASK}@{host}").geturl()
    return value


def _from(row: dict[str, Any]) -> str:
    """`default`, or `environment, not 1`: the default is told where it is not in force."""
    origin: str = row["from"]
    default = "empty" if row["default"] == "" else row["default"]
    return origin if origin == "default" else f"{origin}, not {default}"


def _origin(given: Collection[str], name: str) -> str:
    if variable(name) in os.environ:
        return "environment"
    return "file" if name in given else "default"
