"""The whole cluster on one machine, until Ctrl-C or for a given time: `realm up`."""

from __future__ import annotations

import argparse
import fcntl
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import structlog
from rich.console import Console
from rich.live import Live
from rich.markup import escape

from realm.cli.terminal import Terminal, replace_what_the_encoding_lacks
from realm.corpus.documents import Document
from realm.errors import BadSettings, RealmError
from realm.process import telemetry
from realm.records.generations import Generations
from realm.records.store import Store
from realm.settings import Settings, load_settings
from services.standalone import corpus
from services.standalone.cluster import Cluster
from services.standalone.observer import Observer
from services.standalone.report import Run, build_report
from services.standalone.supervisor import LOOK_SECONDS, Stopped, Supervisor
from services.standalone.view import render

LINE_EVERY_SECONDS = 10.0

log = structlog.get_logger(__name__)


def run(stop: threading.Event) -> int:
    """The exit code: 0 after a clean end, 1 after a fault, 2 if it could not start.

    :param stop: ends everything in order once it is set, also while things start.
    """
    arguments = _arguments()
    # JSON is for programs: no live view then, terminal or not.
    replace_what_the_encoding_lacks()
    console = Terminal(stderr=True, force_terminal=False if arguments.json else None)
    try:
        settings = load_settings(log_format="json" if arguments.json else "text")
        _run(arguments, settings, console, stop)
    except BadSettings as error:
        console.print(f"[bold red]realm cannot start:[/] {escape(str(error))}", soft_wrap=True)
        return 2
    except RealmError as error:
        console.print(f"[bold red]realm:[/] {escape(str(error))}", soft_wrap=True)
        return 1
    return 0


def _run(
    arguments: argparse.Namespace, settings: Settings, console: Console, stop: threading.Event
) -> None:
    cluster = Cluster(
        arguments.store.resolve(),
        arguments.port_offset,
        not arguments.no_train,
        arguments.gateways,
        arguments.standby,
    )
    cluster.check()
    with _sole_owner(cluster.folder):
        telemetry.set_up(
            settings.replace(metrics_port=0),
            "standalone",
            _log_stream(cluster, console),
        )
        supervisor = Supervisor(cluster, stop.wait)
        try:
            _serve(supervisor, arguments, settings, console, stop)
        except Stopped:
            log.info("stopped_while_starting")
        finally:
            if supervisor.processes:
                console.print(
                    f"ending: snapshots, checkpoints and the index stay in {cluster.folder}",
                    soft_wrap=True,
                )
            supervisor.stop()


def _serve(
    supervisor: Supervisor,
    arguments: argparse.Namespace,
    settings: Settings,
    console: Console,
    stop: threading.Event,
) -> None:
    """:raises Stopped: if it is to end before everything has started."""
    began = time.time()
    cluster = supervisor.cluster
    documents, problems = supervisor.wait_for(
        lambda: corpus.gather(arguments.corpus, settings.corpus.max_document_bytes)
    )
    for problem in problems:
        console.print(f"[yellow]left out:[/] {escape(str(problem))}", soft_wrap=True)
    visits = cluster.logs / "visits.jsonl"
    observer = Observer(cluster.address("gateway"), cluster.address("trainer metrics"), visits)
    _bring_up(supervisor, documents, arguments.rate, visits, console)
    with observer:
        _watch(supervisor, observer, stop, began, arguments.seconds, console)
    _tell(_report(supervisor, observer, (began, time.time())), arguments, console)


def _bring_up(
    supervisor: Supervisor,
    documents: list[Document],
    rate: float,
    visits: Path,
    console: Console,
) -> None:
    cluster = supervisor.cluster
    with console.status("starting Redis and Qdrant"):
        supervisor.start(cluster.infrastructure())
        supervisor.await_ports(["redis", "qdrant"])
    with console.status("starting indexer and gateway"):
        supervisor.start(cluster.front())
        supervisor.await_ports(["indexer", *cluster.gateway_names])
    with console.status(f"writing {len(documents)} documents"):
        written = supervisor.wait_for(
            lambda: corpus.import_once(
                cluster.address("gateway"), documents, cluster.folder / "imported.json"
            )
        )
    log.info("corpus_ready", documents=len(documents), written=written)
    supervisor.start(cluster.workers())
    if rate > 0:
        supervisor.start([cluster.visitor(rate, visits)])


def _watch(
    supervisor: Supervisor,
    observer: Observer,
    stop: threading.Event,
    began: float,
    seconds: float,
    console: Console,
) -> None:
    """Supervises until a signal or the end of the time; draws, or writes a line now and then."""
    address = supervisor.cluster.address("gateway")
    next_line = 0.0
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while not stop.wait(LOOK_SECONDS):
            supervisor.look()
            if seconds and time.time() - began >= seconds:
                return
            if console.is_terminal:
                live.update(render(observer, supervisor.processes, began, address), refresh=True)
            elif time.time() >= next_line:
                _log_line(observer)
                next_line = time.time() + LINE_EVERY_SECONDS


def _log_line(observer: Observer) -> None:
    sample = observer.newest
    if sample is None:
        return
    live = sample.status.live if sample.status else None
    log.info(
        "status",
        step=sample.step,
        generation=live.generation if live else None,
        lag_steps=live.lag_steps if live else None,
        asked=len(observer.visits),
        failed=sum(bool(visit.failed) for visit in observer.visits),
    )


def _log_stream(cluster: Cluster, console: Console) -> TextIO | None:
    """On a terminal the screen is the live view's; our own lines go beside the others' logs."""
    if not console.is_terminal:
        return None
    cluster.logs.mkdir(parents=True, exist_ok=True)
    return (cluster.logs / "standalone.log").open("a")


def _report(
    supervisor: Supervisor, observer: Observer, lasted: tuple[float, float]
) -> dict[str, Any]:
    run = Run(
        began=lasted[0],
        ended=lasted[1],
        samples=observer.samples,
        visits=observer.visits,
        restarts={child.spec.name: child.restarts for child in supervisor.processes},
    )
    return build_report(run, Generations(Store.open(str(supervisor.cluster.store))))


def _tell(report: dict[str, Any], arguments: argparse.Namespace, console: Console) -> None:
    text = json.dumps(report, indent=2) + "\n"
    queries = report["queries"]
    console.print(
        f"{report['generations_live']} generations went live; {queries['total']} questions asked,"
        f" {queries['failed']} failed, {queries['mixed_version']} of mixed versions",
        soft_wrap=True,
    )
    if arguments.json:
        sys.stdout.write(text)
    if arguments.report:
        arguments.report.parent.mkdir(parents=True, exist_ok=True)
        arguments.report.write_text(text)
        console.print(f"report: {escape(str(arguments.report))}", soft_wrap=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="realm up", description=__doc__)
    parser.add_argument("--store", type=Path, default=Path(".realm"), help="folder of all state")
    parser.add_argument(
        "--corpus", type=Path, action="append", default=[], help=".jsonl file or folder"
    )
    parser.add_argument("--for", dest="seconds", type=float, default=0, help="end after seconds")
    parser.add_argument("--report", type=Path, help="write what happened into this JSON file")
    parser.add_argument("--port-offset", type=int, default=0, help="added to every port")
    parser.add_argument("--gateways", type=int, default=1, help="how many; the first is asked")
    parser.add_argument("--standby", action="store_true", help="a second indexer stands by")
    parser.add_argument("--rate", type=float, default=2.5, help="questions asked a second; 0: none")
    parser.add_argument("--no-train", action="store_true", help="serve the base model as it is")
    parser.add_argument(
        "--json", action="store_true", help="JSON: log lines, the report at the end"
    )
    return parser.parse_args()


@contextmanager
def _sole_owner(folder: Path) -> Iterator[None]:
    """:raises BadSettings: if another cluster runs in the folder."""
    with (folder / "run.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadSettings(
                f"a cluster already runs in {folder}: end it or choose STORE=folder"
            ) from error
        yield
