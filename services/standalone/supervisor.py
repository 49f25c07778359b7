"""Starts the cluster's processes in order, restarts those that die, and stops them all."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

import structlog

from realm.errors import DependencyUnavailable
from realm.records.snapshots import Snapshots
from services.standalone.cluster import HOST, Cluster, ProcessSpec
from services.standalone.forks import ForkedProcess, ForkServer, dying_with_us

FIRST_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 30.0
#: A process that has run this long is healthy: its next death starts the back-off anew.
HEALTHY_SECONDS = 30.0
#: Exit code of a process whose settings are unusable: a restart cannot help.
BAD_SETTINGS_EXIT = 2
START_SECONDS = 180.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.2
FORK_SERVER = "fork-server"
#: Whoever calls another ends before it.
LASTING = ("redis", "qdrant", "indexer", "gateway", "web", "load")

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Stopped(Exception):
    """Startup was interrupted."""


def restart_backoff(deaths_in_a_row: int) -> float:
    """Seconds to wait after that many deaths in a row: doubling, capped."""
    exponent = min(max(0, deaths_in_a_row - 1), 16)
    return min(MAX_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * float(2**exponent))


@dataclass(slots=True)
class ChildProcess:
    """One process of the cluster, restarted after a back-off when it dies."""

    spec: ProcessSpec
    clock: Callable[[], float] = time.monotonic
    forks: ForkServer | None = None
    process: subprocess.Popen[bytes] | ForkedProcess | None = None
    restarts: int = 0
    deaths_in_a_row: int = 0
    last_exit: int | None = None
    _started_at: float = 0.0
    _restart_at: float = 0.0
    _stopping: bool = False

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def misconfigured(self) -> bool:
        """Whether it exited because its settings are unusable."""
        return self.last_exit == BAD_SETTINGS_EXIT

    def start(self) -> None:
        """Must be called from a thread that lives as long as the supervisor: the kernel sends
        the parent-death signal when the *thread* that forked ends."""
        self.spec.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.spec.log_file.open("ab") as output:
            self.process = self._fork(output) or self._execute(output)
        self._started_at = self.clock()

    def _fork(self, output: BinaryIO) -> ForkedProcess | None:
        if self.forks is None or not self.spec.module:
            return None
        try:
            return self.forks.fork(self.spec, output.fileno())
        except DependencyUnavailable as error:
            log.warning("not_forked", process=self.spec.name, why=error.message)
            return None

    def _execute(self, output: BinaryIO) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            dying_with_us(self.spec.command, self.spec.niceness),
            env={**os.environ, **self.spec.environment},
            cwd=self.spec.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A Ctrl-C at the terminal is for the supervisor, which then stops us in order.
            # Not a session of its own: niceness counts only within one (autogroups).
            process_group=0,
        )

    def restart_if_dead(self) -> None:
        if self._stopping or self.running:
            return
        if self.process is not None and (code := self.process.poll()) is not None:
            self._record_death(code)
            self.process = None
        if self.clock() >= self._restart_at and not self.misconfigured:
            self.restarts += 1
            self.start()
            log.info("process_restarted", process=self.spec.name, child=self.pid)

    def lower_priority(self, niceness: int) -> None:
        """Of all its threads, and of those that come in its place."""
        self.spec = replace(self.spec, niceness=niceness)
        if self.process is not None and self.running:
            os.setpriority(os.PRIO_PGRP, self.process.pid, niceness)

    def terminate(self) -> None:
        self._stopping = True
        if self.process is not None and self.running:
            self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> bool:
        """Waits up to `seconds`, then kills it. Returns whether it ended by itself."""
        if self.process is None:
            return True
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            log.warning("process_killed", process=self.spec.name, after_seconds=seconds)
            self.process.kill()
            self.process.wait(10)
            return False
        return True

    def _record_death(self, code: int) -> None:
        lived = self.clock() - self._started_at
        self.deaths_in_a_row = 1 if lived > HEALTHY_SECONDS else self.deaths_in_a_row + 1
        self.last_exit = code
        backoff = restart_backoff(self.deaths_in_a_row)
        self._restart_at = self.clock() + backoff
        log.warning(
            "process_died",
            process=self.spec.name,
            exit=describe_exit(code),
            restart_in_seconds=backoff,
            log=str(self.spec.log_file),
        )


class Supervisor:
    """Owns the child processes. Used from one thread, which must live as long as they do."""

    def __init__(self, cluster: Cluster, stopped: Callable[[float], bool]) -> None:
        """:param stopped: sleeps up to the given seconds and returns whether to stop."""
        self.cluster = cluster
        self.processes: list[ChildProcess] = []
        self._forks: ForkServer | None = None
        self._stopped = stopped

    def import_once(self) -> None:
        """Begins to import what the services need; those started from now on share it."""
        log_file = self.cluster.logs / f"{FORK_SERVER}.log"
        self._forks = ForkServer(self.cluster.forked_modules, self.cluster.environment(), log_file)
        log.info("process_started", process=FORK_SERVER, child=self._forks.pid)

    def await_imports(self) -> None:
        """:raises Stopped: if startup is interrupted."""
        if (forks := self._forks) is not None:
            deadline = time.monotonic() + START_SECONDS
            self._await(lambda: forks.ready, deadline, FORK_SERVER, "import the services")

    def start(self, specs: Sequence[ProcessSpec]) -> None:
        for spec in specs:
            child = ChildProcess(spec, forks=self._forks)
            self.processes.append(child)
            child.start()
            log.info("process_started", process=spec.name, child=child.pid)

    def lower_priority(self, name: str, niceness: int) -> None:
        for child in self.processes:
            if child.spec.name == name:
                child.lower_priority(niceness)

    def restart_dead(self) -> None:
        """:raises DependencyUnavailable: if a process ended because of its settings."""
        for child in self.processes:
            child.restart_if_dead()
            if child.misconfigured:
                raise DependencyUnavailable(
                    f"{child.spec.name} cannot start; the end of its log:\n"
                    + last_lines(child.spec.log_file)
                )

    def await_ports(self, names: Sequence[str]) -> None:
        """Waits until all listen, restarting what dies meanwhile.

        :raises DependencyUnavailable: naming the one that does not, with the end of its log.
        :raises Stopped: if startup is interrupted.
        """
        deadline = time.monotonic() + START_SECONDS
        for name in names:
            port = self.cluster.port(name)
            self._await(partial(_listens, port), deadline, name, f"listen on port {port}")

    def await_snapshot(self, snapshots: Snapshots) -> None:
        """Waits until the trainer has published one, restarting what dies meanwhile.

        :raises DependencyUnavailable: if it does not, with the end of its log.
        :raises Stopped: if startup is interrupted.
        """
        deadline = time.monotonic() + START_SECONDS
        self._await(lambda: bool(snapshots.newest()), deadline, "trainer", "publish a model")

    def await_answers(self, ready: Callable[[], bool], seconds: float) -> None:
        """Waits until a gateway answers, or so long.

        :raises Stopped: if startup is interrupted.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not ready():
            self._poll()

    def wait_for(self, work: Callable[[], T]) -> T:
        """As `begin` and `result`."""
        return self.result(begin(work))

    def result(self, work: Future[T]) -> T:
        """Of work in a thread of its own, which is abandoned if startup is interrupted.

        :raises Stopped: if startup is interrupted.
        """
        while not work.done():
            self._poll()
        return work.result()

    def _await(self, holds: Callable[[], bool], deadline: float, name: str, what: str) -> None:
        while not holds():
            if time.monotonic() > deadline:
                log_file = self.cluster.logs / f"{name}.log"
                raise DependencyUnavailable(
                    f"{name} does not {what} within {START_SECONDS:.0f} s; the end of {log_file}:\n"
                    + last_lines(log_file)
                )
            self._poll()

    def stop(self) -> None:
        """Ends everything, clients first, within STOP_SECONDS for each."""
        begun = sorted(self.processes, key=lambda each: each.spec.name == "web")
        for child in reversed(begun):
            child.terminate()
            # Redis and Qdrant go last: services write to them while they end.
            if child.spec.name.startswith(LASTING):
                child.wait(STOP_SECONDS)
        for child in self.processes:
            child.wait(STOP_SECONDS)
        if self._forks is not None:
            self._forks.close()

    def _poll(self) -> None:
        self.restart_dead()
        if self._stopped(POLL_SECONDS):
            raise Stopped


def begin(work: Callable[[], T]) -> Future[T]:
    """Runs it in a thread of its own."""
    done: Future[T] = Future()
    threading.Thread(target=_run_into, args=(done, work), name="start", daemon=True).start()
    return done


def _run_into(done: Future[T], work: Callable[[], T]) -> None:
    try:
        done.set_result(work())
    except BaseException as error:
        done.set_exception(error)


def _listens(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0


def describe_exit(code: int) -> str:
    """`exit code 1` or the signal's name."""
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def last_lines(path: Path, count: int = 5) -> str:
    """The end of a log, for an error message."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 8192))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-count:])
