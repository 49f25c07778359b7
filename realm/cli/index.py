"""`realm status`, `refresh`, `generations`, `rollback`, `pause`, `resume`."""

from __future__ import annotations

import getpass
import socket
from typing import Annotated

import typer

from realm.cli.format import generation_table, generations_table, refresh_line, status_table
from realm.cli.json_output import to_json
from realm.cli.options import (
    DEFAULT_TIMEOUT,
    MOST,
    Address,
    AsJson,
    Reason,
    Timeout,
    a_number,
    connect,
    messages,
    output,
)
from realm.client import Client
from realm.errors import DeadlinePassed, FailedPrecondition, NotFound
from realm.v1 import index_pb2

ALL_GENERATIONS = 1_000
FAILED = (index_pb2.GENERATION_STATE_REJECTED, index_pb2.GENERATION_STATE_ABANDONED)


def register(app: typer.Typer) -> None:
    app.command()(status)
    app.command()(refresh)
    app.command()(rollback)
    app.command()(pause)
    app.command()(resume)
    generations = typer.Typer(help="Generations of the index.", no_args_is_help=True)
    generations.command("list")(list_)
    generations.command()(show)
    generations.command()(commit)
    app.add_typer(generations, name="generations")


def status(
    as_json: AsJson = False, address: Address = "", timeout: Timeout = DEFAULT_TIMEOUT
) -> None:
    """What is live, what is being built, how far the index lags behind the model."""
    with connect(address, timeout) as client:
        found = client.status()
    if as_json:
        output().out(to_json(found))
    else:
        output().print(status_table(found))


def refresh(
    wait: Annotated[bool, typer.Option("--wait", help="until the new generation answers")] = False,
    patience: Annotated[
        float, typer.Option(help="seconds that --wait waits", min=0, callback=a_number)
    ] = 3600,
    reason: Reason = "",
    as_json: AsJson = False,
    address: Address = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Build a new generation from the newest snapshot."""
    with connect(address, timeout) as client:
        before = client.status()
        asked = client.refresh(reason=reason)
        if not wait:
            if as_json:
                output().out(to_json(asked))
            else:
                output().print(f"asked for a generation from snapshot {asked.snapshot}")
            return
        after = _wait_for_refresh(client, before, patience)
    if as_json:
        output().out(to_json(after))
    else:
        output().print(status_table(after))


def list_(
    limit: Annotated[int, typer.Option(help="how many at most", min=1, max=ALL_GENERATIONS)] = 20,
    as_json: AsJson = False,
    address: Address = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """List generations, newest first."""
    with connect(address, timeout) as client:
        found = client.generations(limit=limit)
    if as_json:
        output().out(to_json(found))
    elif found:
        output().print(generations_table(found))
    else:
        output().print("There is no generation yet.")


def show(
    number: Annotated[int, typer.Argument(help="number of a generation", min=0, max=MOST)],
    as_json: AsJson = False,
    address: Address = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """One generation with the gate's figures."""
    with connect(address, timeout) as client:
        listed = client.generations(limit=ALL_GENERATIONS)
    found = next((each for each in listed if each.generation == number), None)
    if found is None:
        raise NotFound(f"there is no generation {number}; `realm generations list` names all")
    if as_json:
        output().out(to_json(found))
    else:
        output().print(generation_table(found))


def commit(
    number: Annotated[
        int,
        typer.Argument(help="number of a generation, as one that was refused", min=0, max=MOST),
    ],
    force: Annotated[
        bool, typer.Option("--force", help="live even if the gate finds it worse")
    ] = False,
    reason: Reason = "",
    as_json: AsJson = False,
    address: Address = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Build a generation's snapshot again, of today's corpus, and make it live.

    Its vectors are taken over. What the gate finds is recorded; with --force a fall in quality is
    no obstacle, and who forced it is recorded too. Damage is refused all the same.
    """
    with connect(address, timeout) as client:
        asked = client.refresh(reason=reason, generation=number, force=force, by=_who())
    if as_json:
        output().out(to_json(asked))
    else:
        how = "forced" if force else "asked for"
        output().print(f"a new generation of snapshot {asked.snapshot} is {how}")


def rollback(
    reason: Reason = "",
    as_json: AsJson = False,
    address: Address = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Make the retained generation live again, and pause automatic refresh."""
    with connect(address, timeout) as client:
        found = client.roll_back(reason=reason)
    if as_json:
        output().out(to_json(found))
    else:
        output().print(
            f"generation {found.generation} is live again; refresh is paused, `realm resume`"
            " goes on"
        )


def pause(
    reason: Reason = "",
    as_json: AsJson = False,
    address: Address = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Pause automatic refresh."""
    _pause(True, reason, as_json, address, timeout)


def resume(
    reason: Reason = "",
    as_json: AsJson = False,
    address: Address = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Resume automatic refresh."""
    _pause(False, reason, as_json, address, timeout)


def _pause(paused: bool, reason: str, as_json: bool, address: str, timeout: float) -> None:
    with connect(address, timeout) as client:
        found = client.pause(paused, reason=reason)
    if as_json:
        output().out(to_json(found))
    else:
        output().print(f"automatic refresh is {'paused' if found.paused else 'on'}")


def _who() -> str:
    """User and machine, as far as they can be told."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):  # a container's user may have no name
        return socket.gethostname()


def _wait_for_refresh(
    client: Client, before: index_pb2.IndexStatus, patience: float
) -> index_pb2.IndexStatus:
    """:raises FailedPrecondition: if the new generation was rejected or abandoned."""
    newest = max(before.live.generation, before.last_refresh.generation)
    with messages().status("refresh asked for") as spinner:
        try:
            for found in client.watch(timeout=patience):
                spinner.update(refresh_line(found))
                if _is_over(found, newest):
                    return found
        except DeadlinePassed as error:
            raise DeadlinePassed(
                f"no new generation is live after {patience:g} s; `realm status` says why"
            ) from error
    raise AssertionError("a watch ends with an error")


def _is_over(found: index_pb2.IndexStatus, newest: int) -> bool:
    last = found.last_refresh
    if last.generation > newest and last.state in FAILED:
        raise FailedPrecondition(
            f"generation {last.generation} was refused: {last.reason or 'no reason given'}",
            generation=last.generation,
        )
    if found.live.generation <= newest:
        return False
    return all(each.generation >= found.live.generation for each in found.gateways if each.ready)
