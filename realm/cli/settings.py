"""`realm settings`: every setting with its value, origin and meaning."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

import typer

from realm.cli.options import AsJson
from realm.cli.output import rows_table, show
from realm.settings import FLAT, Settings, field_of, load_settings, variable

MASK = "***"
PIPE_WIDTH = 400
SECRET = re.compile(r"(^|_)(key|secret|password|token)($|_)")


def register(app: typer.Typer) -> None:
    app.command("settings")(settings_)


def settings_(as_json: AsJson = False) -> None:
    """List every setting with its value, origin, default and meaning."""
    found = rows(load_settings())
    table = rows_table(
        [
            {
                "variable": row["variable"],
                "value": row["value"],
                "from": _from(row),
                "meaning": row["meaning"],
            }
            for row in found
        ]
    )
    # Names stay whole, to be copied and searched for; in a pipe, lines do too.
    table.columns[0].no_wrap = True
    show(found, as_json, table, pipe_width=PIPE_WIDTH)


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
    """A value without secrets: keys, and user and password in URLs."""
    if value and SECRET.search(name) and isinstance(value, str):
        return MASK
    if isinstance(value, str) and "@" in (parts := urlsplit(value)).netloc:
        host = parts.netloc.rpartition("@")[2]
        return parts._replace(netloc=f"{MASK}@{host}").geturl()
    return value


def _from(row: dict[str, Any]) -> str:
    """`default`, or `environment, not 1`, which names the default."""
    origin: str = row["from"]
    default = "empty" if row["default"] == "" else row["default"]
    return origin if origin == "default" else f"{origin}, not {default}"


def _origin(given: Collection[str], name: str) -> str:
    if variable(name) in os.environ:
        return "environment"
    return "file" if name in given else "default"
