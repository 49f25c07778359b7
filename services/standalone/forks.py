"""The supervisor's side of the fork server, and the processes that come of it."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from realm.errors import DependencyUnavailable
from services.standalone.cluster import ProcessSpec
from services.standalone.fork_server import ForkRequest

MODULE = "services.standalone.fork_server"
PARENT_DEATH = Path(__file__).with_name("parent_death.py")
PR_SET_CHILD_SUBREAPER = 36
REPLY_SECONDS = 10.0
PID_BYTES = 32


class ForkedProcess:
    """A child of this process that `subprocess` does not know, as a `Popen` of it would be."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._handle = os.pidfd_open(pid)

    def poll(self) -> int | None:
        if self.returncode is None and (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            self.returncode = os.waitstatus_to_exitcode(ended[1])
            os.close(self._handle)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """:raises subprocess.TimeoutExpired: if it still runs then."""
        if self.poll() is None:
            select.select([self._handle], [], [], timeout)
        if (code := self.poll()) is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """A process that imports `modules` once, and is forked for each service that is started."""

    def __init__(
        self, modules: Sequence[str], environment: Mapping[str, str], log_file: Path
    ) -> None:
        """Begins the imports. Until `close` this process adopts orphans among its descendants."""
        _adopt_orphans(True)
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection.settimeout(REPLY_SECONDS)
        log_file.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-P", "-m", MODULE, str(theirs.fileno()), *modules]
        with theirs, log_file.open("ab") as output:
            self._process = subprocess.Popen(
                dying_with_us(command),
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                process_group=0,
            )
        self._imported = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ready(self) -> bool:
        """Whether it has imported everything, or ended over it."""
        if not self._imported and select.select([self._connection], [], [], 0)[0]:
            self._connection.recv(PID_BYTES)
            self._imported = True
        return self._imported

    def fork(self, spec: ProcessSpec, output: int) -> ForkedProcess:
        """:raises DependencyUnavailable: if it has ended, or does not answer."""
        environment = {**os.environ, **spec.environment}
        folder = str(spec.folder) if spec.folder else None
        request = ForkRequest(spec.name, spec.module, environment, spec.niceness, folder)
        try:
            socket.send_fds(self._connection, [request.to_bytes()], [output])
            return ForkedProcess(int(self._connection.recv(PID_BYTES)))
        except (OSError, ValueError) as error:
            self.close()
            raise DependencyUnavailable(f"the fork server does not answer: {error}") from error

    def close(self) -> None:
        """Ends it; what was forked of it goes on."""
        self._connection.close()
        self._process.kill()
        self._process.wait()
        _adopt_orphans(False)


def dying_with_us(command: Sequence[str], niceness: int = 0) -> list[str]:
    """The command in a wrapper that has the kernel end it when this process ends."""
    wrapper = [sys.executable, "-I", "-S", str(PARENT_DEATH), str(os.getpid()), str(niceness)]
    return [*wrapper, *command]


def _adopt_orphans(adopt: bool) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")
