"""Starts the cluster in order, keeps it running, and ends it without leaving anything behind."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

import structlog

from realm.errors import DependencyUnavailable
from services.standalone.cluster import HOST, Cluster
from services.standalone.processes import ProcessSpec, Supervised, last_lines

START_SECONDS = 180.0
STOP_SECONDS = 20.0
LOOK_SECONDS = 0.2

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Stopped(Exception):
    """Everything is to end before it has started."""


class Supervisor:
    """Owns the child processes. Used from one thread, which must live as long as they do."""

    def __init__(self, cluster: Cluster, stopped: Callable[[float], bool]) -> None:
        """`stopped(seconds)` sleeps at most so long and tells whether to end."""
        self.cluster = cluster
        self.processes: list[Supervised] = []
        self._stopped = stopped

    def start(self, specs: Sequence[ProcessSpec]) -> None:
        for spec in specs:
            child = Supervised(spec)
            self.processes.append(child)
            child.start()
            log.info("process_started", process=spec.name, pid=child.pid)

    def look(self) -> None:
        """Starts again what died.

        :raises DependencyUnavailable: if a process ended because of its settings.
        """
        for child in self.processes:
            child.look()
            if child.hopeless:
                raise DependencyUnavailable(
                    f"{child.spec.name} cannot start; its last words:\n"
                    + last_lines(child.spec.log_file)
                )

    def await_ports(self, names: Sequence[str]) -> None:
        """Until all listen, restarting what dies meanwhile.

        :raises DependencyUnavailable: naming the one that does not, with the end of its log.
        :raises Stopped: if it is to end meanwhile.
        """
        deadline = time.monotonic() + START_SECONDS
        for name in names:
            while not _listens(self.cluster.port(name)):
                self.look()
                if time.monotonic() > deadline:
                    log_file = self.cluster.logs / f"{name}.log"
                    raise DependencyUnavailable(
                        f"{name} does not listen on port {self.cluster.port(name)} after"
                        f" {START_SECONDS:.0f} s; the end of {log_file}:\n{last_lines(log_file)}"
                    )
                if self._stopped(LOOK_SECONDS):
                    raise Stopped

    def wait_for(self, work: Callable[[], T]) -> T:
        """What `work` returns; it runs in a thread of its own, and is left alone at the end.

        :raises Stopped: if it is to end meanwhile.
        """
        done: Future[T] = Future()
        threading.Thread(target=_settle, args=(done, work), name="start", daemon=True).start()
        while not done.done():
            self.look()
            if self._stopped(LOOK_SECONDS):
                raise Stopped
        return done.result()

    def stop(self) -> None:
        """Ends everything, clients first, within STOP_SECONDS each at the most."""
        for child in reversed(self.processes):
            child.terminate()
            # Redis and Qdrant go last: services write to them while they end.
            if child.spec.name.startswith(("redis", "qdrant", "indexer", "gateway", "visitor")):
                child.wait(STOP_SECONDS)
        for child in self.processes:
            child.wait(STOP_SECONDS)


def _settle(done: Future[T], work: Callable[[], T]) -> None:
    try:
        done.set_result(work())
    except BaseException as error:
        done.set_exception(error)


def _listens(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0
