"""What all commands share: the gateway's address, JSON output, consoles."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from realm import tracing
from realm.cli.terminal import Terminal
from realm.client import Client
from realm.errors import Unreachable
from realm.settings import load_settings

#: Numbers that are counted up, as the API and the store hold them.
MOST = 2**63 - 1


def a_number(value: float) -> float:
    """For options whose bounds NaN would pass, as it passes all."""
    if math.isnan(value):
        raise typer.BadParameter("give a number")
    return value


def finite(value: float) -> float:
    if not math.isfinite(value):
        raise typer.BadParameter("give a finite number")
    return value


Address = Annotated[
    str,
    typer.Option(
        help="the gateway: host:port, or https://host", show_default="REALM_GATEWAY_ADDRESS"
    ),
]
Timeout = Annotated[
    float,
    typer.Option(help="seconds until a call is given up; inf: never", min=0.001, callback=a_number),
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of words")]
Reason = Annotated[str, typer.Option(help="written into the index's history")]
Paths = Annotated[
    list[Path],
    typer.Argument(help=".jsonl file, or file or folder of .md, .rst, .txt, .html"),
]

DEFAULT_TIMEOUT = 30.0
NOBODY = (
    "`make run` (`realm up`) starts a cluster on this machine; --address or REALM_GATEWAY_ADDRESS"
    " names another gateway"
)


@contextmanager
def connect(address: str, timeout: float = DEFAULT_TIMEOUT) -> Iterator[Client]:
    """A client of the gateway given, or of the settings' one.

    :raises Unreachable: if no gateway is there; it says how to have one.
    """
    settings = load_settings()
    tracing.set_up("cli", settings.process.trace_folder)
    target = address or settings.addresses.gateway_address
    try:
        with Client(target, timeout=timeout) as client:
            yield client
    except Unreachable as error:
        raise Unreachable(f"{error.message}. {NOBODY}") from error


def output() -> Console:
    """For results. Made at each call: tests and pipes exchange stdout."""
    return Terminal(highlight=False, soft_wrap=True)


def messages() -> Console:
    """For progress and problems: results stay clean on stdout."""
    return Terminal(stderr=True, highlight=False, soft_wrap=True)
