"""Runs the whole cluster on one machine until Ctrl-C, or for a given time."""

from __future__ import annotations

import fcntl
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import structlog
from rich.console import Console
from rich.live import Live
from rich.markup import escape

from realm.cli.output import Terminal, replace_what_the_encoding_lacks
from realm.cli.up import Options
from realm.client import Client
from realm.corpus.documents import Document
from realm.errors import BadSettings, RealmError
from realm.process import telemetry
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from realm.settings import Settings, load_settings
from services.standalone import corpus
from services.standalone.cluster import TRAINER_NICENESS, Cluster
from services.standalone.observer import Observer, render
from services.standalone.report import Run, build_report
from services.standalone.supervisor import POLL_SECONDS, Stopped, Supervisor, begin

STATUS_LOG_SECONDS = 10.0
#: How long embedders wait for words alone to answer.
WORDS_SECONDS = 20.0

log = structlog.get_logger(__name__)


def run(options: Options, stop: threading.Event) -> int:
    """The exit code: 0 after a clean end, 1 after a fault, 2 if it could not start.

    :param stop: ends everything in order once it is set, also during startup.
    """
    # JSON is for programs: no live view then, terminal or not.
    replace_what_the_encoding_lacks()
    console = Terminal(stderr=True, force_terminal=False if options.as_json else None)
    try:
        settings = load_settings(log_format="json" if options.as_json else "text")
        _run(options, settings, console, stop)
    except BadSettings as error:
        console.print(f"[bold red]realm cannot start:[/] {escape(str(error))}", soft_wrap=True)
        return 2
    except RealmError as error:
        console.print(f"[bold red]realm:[/] {escape(str(error))}", soft_wrap=True)
        return 1
    return 0


def _run(options: Options, settings: Settings, console: Console, stop: threading.Event) -> None:
    cluster = Cluster(
        options.store.resolve(),
        options.port_offset,
        options.train,
        options.gateways,
        options.standby,
        qdrant=options.qdrant,
    )
    cluster.check()
    with _lock(cluster.folder):
        telemetry.set_up(
            settings.replace(metrics_port=0),
            "standalone",
            _log_stream(cluster, console),
        )
        supervisor = Supervisor(cluster, stop.wait)
        try:
            _serve(supervisor, options, settings, console, stop)
        except Stopped:
            log.info("stopped_while_starting")
        finally:
            if supervisor.processes:
                console.print(
                    f"stopping; snapshots, checkpoints and the index stay in {cluster.folder}",
                    soft_wrap=True,
                )
            supervisor.stop()


def _serve(
    supervisor: Supervisor,
    options: Options,
    settings: Settings,
    console: Console,
    stop: threading.Event,
) -> None:
    """:raises Stopped: if startup is interrupted."""
    began = time.time()
    cluster = supervisor.cluster
    supervisor.import_once()
    infrastructure = cluster.infrastructure()
    supervisor.start([*infrastructure, cluster.web()])
    gathering = begin(
        lambda: corpus.gather(options.corpus or [], settings.corpus.max_document_bytes)
    )
    supervisor.await_ports(["web"])
    console.print(f"look at [bold]http://{cluster.address('web')}[/]", soft_wrap=True)
    with console.status("starting indexer and gateway"):
        supervisor.await_ports([each.name for each in infrastructure])
        supervisor.await_imports()
        # Nothing answers before the trainer has published the base model.
        supervisor.start([cluster.trainer(), *cluster.front()])
    with console.status("reading the corpus"):
        documents, problems = supervisor.result(gathering)
    for problem in problems:
        console.print(f"[yellow]left out:[/] {escape(str(problem))}", soft_wrap=True)
    observer = Observer(
        cluster.address("gateway"), cluster.address("trainer metrics"), cluster.request_log
    )
    _start(supervisor, documents, console)
    if options.follow:
        supervisor.start([cluster.follower(options.folders)])
    if options.rate > 0:
        supervisor.start([cluster.load_generator(options.rate)])
    with observer:
        _watch(supervisor, observer, stop, began + options.seconds, began, console)
    _print_report(_report(supervisor, observer, (began, time.time())), options, console)


def _start(supervisor: Supervisor, documents: list[Document], console: Console) -> None:
    cluster = supervisor.cluster
    with console.status("starting indexer and gateway"):
        supervisor.await_ports(["indexer", *cluster.gateway_names])
    with console.status(f"writing {len(documents)} documents"):
        written = supervisor.wait_for(
            lambda: corpus.import_once(
                cluster.address("gateway"), documents, cluster.folder / "imported.json"
            )
        )
    log.info("corpus_ready", documents=len(documents), written=written)
    with console.status("publishing the base model"):
        supervisor.await_snapshot(Snapshots(Store.open(str(cluster.store))))
    log.info("base_model_published")
    supervisor.lower_priority("trainer", TRAINER_NICENESS)
    with console.status("indexing words"), Client(cluster.address("gateway"), timeout=1) as client:
        # Embedders have nothing to do before, and would keep the processors from the first answer.
        supervisor.await_answers(partial(_answers, client), WORDS_SECONDS)
    log.info("answers")
    supervisor.start(cluster.embedders())


def _answers(client: Client) -> bool:
    try:
        return any(each.ready for each in client.status().gateways)
    except RealmError:
        return False


def _watch(
    supervisor: Supervisor,
    observer: Observer,
    stop: threading.Event,
    ends: float,
    began: float,
    console: Console,
) -> None:
    """Supervises until stop is set or the time is over (`ends`; `began` if it has no end)."""
    cluster = supervisor.cluster
    next_line = 0.0
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while not stop.wait(POLL_SECONDS):
            supervisor.restart_dead()
            if ends > began and time.time() >= ends:
                return
            if console.is_terminal:
                live.update(render(observer, supervisor.processes, began, cluster), refresh=True)
            elif time.time() >= next_line:
                _log_status(observer)
                next_line = time.time() + STATUS_LOG_SECONDS


def _log_status(observer: Observer) -> None:
    sample = observer.newest
    if sample is None:
        return
    live = sample.status.live if sample.status else None
    log.info(
        "status",
        step=sample.step,
        generation=live.generation if live else None,
        lag_steps=live.lag_steps if live else None,
        requests=observer.requests.total,
        failed=observer.requests.failed,
    )


def _log_stream(cluster: Cluster, console: Console) -> TextIO | None:
    """On a terminal the live view has the screen, so our own log goes into a file."""
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
        trained=observer.trained,
        requests=observer.logged_requests(),
        restarts={child.spec.name: child.restarts for child in supervisor.processes},
    )
    return build_report(run, Store.open(str(supervisor.cluster.store)))


def _print_report(report: dict[str, Any], options: Options, console: Console) -> None:
    text = json.dumps(report, indent=2) + "\n"
    summary = f"{report['generations_live']} generations went live"
    if options.rate > 0:
        queries = report["queries"]
        summary += (
            f"; {queries['total']} questions asked, {queries['failed']} failed,"
            f" {queries['mixed_version']} answered from mixed versions"
        )
    console.print(summary, soft_wrap=True)
    if options.as_json:
        sys.stdout.write(text)
    if options.report:
        options.report.parent.mkdir(parents=True, exist_ok=True)
        options.report.write_text(text)
        console.print(f"report: {escape(str(options.report))}", soft_wrap=True)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """:raises BadSettings: if another cluster runs in the folder."""
    with (folder / "run.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadSettings(
                f"a cluster already runs in {folder}: stop it or choose another STORE=folder"
            ) from error
        yield
