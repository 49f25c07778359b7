"""`realm status`, `refresh`, `generations`, `rollback`, `pause`, `resume`."""

from __future__ import annotations

import getpass
import socket
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from realm.cli.options import (
    DEFAULT_TIMEOUT,
    MOST,
    Address,
    AsJson,
    Reason,
    RequestId,
    Timeout,
    connect,
    not_nan,
)
from realm.cli.output import (
    Formats,
    Row,
    ago,
    duration,
    enum_words,
    field_rows,
    fields_table,
    messages,
    rows_table,
    show,
)
from realm.client import Client
from realm.errors import DeadlinePassed, FailedPrecondition, NotFound
from realm.v1 import index_pb2, types_pb2

ALL_GENERATIONS = 1_000
FAILED = (index_pb2.GENERATION_STATE_REJECTED, index_pb2.GENERATION_STATE_ABANDONED)


def register(app: typer.Typer) -> None:
    app.command("status")(status_)
    app.command()(refresh)
    app.command()(rollback)
    app.command()(pause)
    app.command()(resume)
    generations = typer.Typer(help="Generations of the index.", no_args_is_help=True)
    generations.command("list")(list_)
    generations.command("show")(show_)
    generations.command()(commit)
    app.add_typer(generations, name="generations")


def status_(
    as_json: AsJson = False, address: Address = "", timeout: Timeout = DEFAULT_TIMEOUT
) -> None:
    """Show what is live, what is being built and how far the index lags behind the model."""
    with connect(address, timeout) as client:
        found = client.status()
    show(found, as_json, status_table(found))


def refresh(
    wait: Annotated[
        bool, typer.Option("--wait", help="wait until the new generation answers")
    ] = False,
    patience: Annotated[
        float, typer.Option(help="seconds that --wait waits", min=0, callback=not_nan)
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
        if wait:
            after = _wait_for_refresh(client, before, patience)
            show(after, as_json, status_table(after))
        else:
            show(asked, as_json, f"building a generation from snapshot {asked.snapshot}")


def list_(
    limit: Annotated[int, typer.Option(help="how many at most", min=1, max=ALL_GENERATIONS)] = 20,
    as_json: AsJson = False,
    address: Address = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """List generations, newest first."""
    with connect(address, timeout) as client:
        found = client.generations(limit=limit)
    show(found, as_json, _generations_table(found) if found else "There is no generation yet.")


def show_(
    number: Annotated[int, typer.Argument(help="number of a generation", min=0, max=MOST)],
    as_json: AsJson = False,
    address: Address = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Show one generation with the gate's figures."""
    with connect(address, timeout) as client:
        listed = client.generations(limit=ALL_GENERATIONS)
    found = next((each for each in listed if each.generation == number), None)
    if found is None:
        raise NotFound(f"there is no generation {number}; `realm generations list` names all")
    show(found, as_json, fields_table(field_rows(found, {}, FORMATS)))


def commit(
    number: Annotated[
        int,
        typer.Argument(
            help="number of a generation, such as one that was rejected", min=0, max=MOST
        ),
    ],
    force: Annotated[
        bool, typer.Option("--force", help="make it live even if the gate finds it worse")
    ] = False,
    reason: Reason = "",
    as_json: AsJson = False,
    address: Address = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Build a generation's snapshot again over today's corpus, and make it live.

    Its vectors are reused. The gate's findings are recorded; with --force, a fall in quality does
    not stop it, and who forced it is recorded too. A damaged generation is refused even then.
    """
    with connect(address, timeout) as client:
        asked = client.refresh(reason=reason, generation=number, force=force, by=_user())
    how = ", whatever the gate finds" if force else ""
    show(asked, as_json, f"building a new generation from snapshot {asked.snapshot}{how}")


def rollback(
    reason: Reason = "",
    request_id: RequestId = "",
    as_json: AsJson = False,
    address: Address = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Make the retained generation live again, and pause automatic refresh.

    A second rollback takes the first one back. To ask again after an error that leaves it open
    whether it took place, give both the same --request-id: it is carried out once.
    """
    with connect(address, timeout) as client:
        found = client.roll_back(reason=reason, request_id=request_id)
    words = f"generation {found.generation} is live again; refresh is paused until `realm resume`"
    show(found, as_json, words)


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
    show(found, as_json, f"automatic refresh is {'paused' if found.paused else 'on'}")


def _user() -> str:
    """User and machine, as far as they are known."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):  # a container's user may have no name
        return socket.gethostname()


def _wait_for_refresh(
    client: Client, before: index_pb2.IndexStatus, patience: float
) -> index_pb2.IndexStatus:
    """:raises FailedPrecondition: if the new generation was rejected or abandoned."""
    newest = max(before.live.generation, before.last_refresh.generation)
    with messages().status("waiting for the refresh") as spinner:
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


def status_table(status: index_pb2.IndexStatus) -> Table:
    return fields_table(status_rows(status))


def status_rows(status: index_pb2.IndexStatus) -> list[Row]:
    live, lag = "nothing yet", "unknown: nothing is live"
    if status.HasField("live"):
        since = f", for {ago(status.live.live_since)}" if status.live.HasField("live_since") else ""
        live, lag = origin(status.live) + since, _lag(status.live)
    special: dict[str, list[Row]] = {
        "live": [("live", live), ("index lag", lag)],
        "refresh": [("refresh", refresh_line(status))],
        "paused": [],
        "parked": [],
        "parked_documents": [],
    }
    if count := status.parked_documents:
        words = "document is" if count == 1 else "documents are"
        parked = f"{count} {words} in no index; `realm corpus parked` names them"
        special["parked_documents"] = [("parked", parked)]
    if status.damage:
        special["damage"] = [("damage", Text(f"{status.damage}; it is being rebuilt", style="red"))]
    return field_rows(status, special, FORMATS)


def refresh_line(status: index_pb2.IndexStatus) -> str:
    paused = "paused until `realm resume`" if status.paused else ""
    if not status.HasField("refresh"):
        return paused or "none under way"
    refresh = status.refresh
    line = (
        f"generation {refresh.generation} from snapshot {refresh.snapshot.number}:"
        f" {_state(refresh)}, {refresh.shards_completed} of {refresh.shards_expected} shards"
    )
    if refresh.HasField("remaining"):
        line += f", about {duration(refresh.remaining.ToNanoseconds() / 1e9)} to go"
    return f"{line} ({paused})" if paused else line


def origin(version: types_pb2.IndexVersion) -> str:
    """Where an answer comes from, in one line."""
    lag = f", {version.lag_steps} steps behind" if version.lag_steps else ""
    words = " of words alone" if version.words_alone else ""
    return (
        f"generation {version.generation}{words}, snapshot {version.snapshot}"
        f" (step {version.step}), corpus version {version.corpus_version}{lag}"
    )


def _lag(live: types_pb2.IndexVersion) -> str:
    seconds = live.lag.ToNanoseconds() / 1e9
    if not live.lag_steps and not seconds:
        return "none"
    return f"{live.lag_steps} steps, {duration(seconds)}"


def _state(of: index_pb2.Refresh | index_pb2.Generation) -> str:
    return enum_words(index_pb2.GenerationState.DESCRIPTOR, of.state)


def _snapshot(snapshot: index_pb2.Snapshot) -> str:
    line = f"{snapshot.number} (step {snapshot.step})"
    if snapshot.HasField("published_at"):
        line += f", published {ago(snapshot.published_at)} ago"
    return line


def _refresh(refresh: index_pb2.Refresh) -> str:
    phases = dict(refresh.phase_seconds)
    total = f" in {duration(phases['total'])}" if "total" in phases else ""
    reason = f": {refresh.reason}" if refresh.reason else ""
    return f"generation {refresh.generation} {_state(refresh)}{total}{reason}"


def _gateway(gateway: index_pb2.Gateway) -> str:
    ready = "ready" if gateway.ready else "not ready"
    return f"{gateway.gateway_id}: generation {gateway.generation}, {ready}"


FORMATS: Formats = {"Snapshot": _snapshot, "Refresh": _refresh, "Gateway": _gateway}


def _generations_table(generations: list[index_pb2.Generation]) -> RenderableType:
    return rows_table(
        [
            {
                "generation": each.generation,
                "state": _state(each) + (", words alone" if each.words_alone else ""),
                "snapshot": each.snapshot.number,
                "step": each.snapshot.step,
                "corpus": each.corpus_version,
                "created": f"{ago(each.created_at)} ago",
                "reason": each.reason,
            }
            for each in generations
        ]
    )
