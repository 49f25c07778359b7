"""Child processes that are started again when they die, and never outlive their supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

TETHER = Path(__file__).with_name("tether.py")
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
#: A process that lived so long is healthy: its next death starts the back-off anew.
STEADY_SECONDS = 30.0
#: Exit code of a process whose settings are unusable: starting it again cannot help.
BAD_SETTINGS_EXIT = 2

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What to run: `environment` is added to ours; output goes to `log_file`.

    `niceness` is the kernel's: whoever answers users comes before whoever learns. `folder` is what
    it works in; None: what we work in.
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    log_file: Path
    niceness: int = 0
    folder: Path | None = None


def pause_before_restart(deaths_in_a_row: int) -> float:
    """Seconds to wait after that many deaths in a row: doubling, capped."""
    exponent = min(max(0, deaths_in_a_row - 1), 16)
    return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * float(2**exponent))


@dataclass(slots=True)
class Supervised:
    """One child: `look` starts it again when it died and its pause is over."""

    spec: ProcessSpec
    clock: Callable[[], float] = time.monotonic
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    deaths_in_a_row: int = 0
    last_exit: int | None = None
    _started_at: float = 0.0
    _start_again_at: float = 0.0
    _stopping: bool = field(default=False)

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Must be called from a thread that lives as long as the supervisor: the kernel sends
        the parent-death signal when the *thread* that forked ends."""
        self.spec.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.spec.log_file.open("ab") as output:
            self.process = subprocess.Popen(
                self._tethered(),
                env={**os.environ, **self.spec.environment},
                cwd=self.spec.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A Ctrl-C at the terminal is for the supervisor, which then stops us in order.
                # Not a session of its own: niceness counts only within one (autogroups).
                process_group=0,
            )
        self._started_at = self.clock()

    def look(self) -> None:
        """Notices a death, and starts the process again after its pause."""
        if self._stopping or self.running:
            return
        if self.process is not None:
            self._note_death(self.process)
            self.process = None
        if self.clock() >= self._start_again_at and not self.hopeless:
            self.restarts += 1
            self.start()
            log.info("process_restarted", process=self.spec.name, pid=self.pid)

    @property
    def hopeless(self) -> bool:
        """Its settings are unusable: it said so and exited."""
        return self.last_exit == BAD_SETTINGS_EXIT

    def terminate(self) -> None:
        self._stopping = True
        if self.process is not None and self.running:
            self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> bool:
        """Whether it ended by itself; else it is killed. Waits at most `seconds`."""
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

    def _tethered(self) -> list[str]:
        tether = [sys.executable, "-I", "-S", str(TETHER), str(os.getpid())]
        return [*tether, str(self.spec.niceness), *self.spec.command]

    def _note_death(self, process: subprocess.Popen[bytes]) -> None:
        lived = self.clock() - self._started_at
        self.deaths_in_a_row = 1 if lived > STEADY_SECONDS else self.deaths_in_a_row + 1
        self.last_exit = process.returncode
        pause = pause_before_restart(self.deaths_in_a_row)
        self._start_again_at = self.clock() + pause
        log.warning(
            "process_died",
            process=self.spec.name,
            exit=describe_exit(process.returncode),
            restart_in_seconds=pause,
            log=str(self.spec.log_file),
        )


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
