"""Processes of the cluster: started in one control group, by which all are ended."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from tools.cluster.layout import PREFIX, namespace_of

GROUPS = Path("/sys/fs/cgroup")
END_SECONDS = 30.0
PAUSE_SECONDS = 0.1
WAIT_SECONDS = 0.5
#: Enters the control group before anything else, so that no child is missed.
ENTER = 'echo $$ > "$0" && exec "$@"'


class CommandFailed(Exception):
    """A command ended otherwise than it should; the message says what it printed."""


def run(*command: str | Path, seconds: float = 120, text: str | None = None) -> str:
    """What a command prints.

    :raises CommandFailed: if its exit code is not 0, or it takes longer than `seconds`.
    """
    words = [str(each) for each in command]
    try:
        done = subprocess.run(
            words, input=text, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"{' '.join(words)}: not within {seconds:.0f} s") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-3000:]
        raise CommandFailed(f"{' '.join(words)}: exit code {done.returncode}\n{said}")
    return done.stdout


def await_true(holds: Callable[[], object], what: str, seconds: float) -> None:
    """Waits for `holds` to be true; a command that fails means not yet.

    :raises CommandFailed: if it is not within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        said = ""
        try:
            if holds():
                return
        except CommandFailed as error:
            said = f": {error}"
        if time.monotonic() > deadline:
            raise CommandFailed(f"not within {seconds:.0f} s: {what}{said}")
        time.sleep(WAIT_SECONDS)


def inside(host: str) -> tuple[str, ...]:
    """Before a command: in the network of a host."""
    return ("nsenter", f"--net=/run/netns/{namespace_of(host)}")


def hierarchies() -> list[Path]:
    """Each controller's own (version 1), or the one of all (version 2)."""
    if (GROUPS / "cgroup.controllers").exists():
        return [GROUPS]
    return [each for each in sorted(GROUPS.iterdir()) if (each / "tasks").exists()]


def make_groups(*names: str) -> None:
    """Groups below the cluster's own, in every hierarchy."""
    for hierarchy in hierarchies():
        for group in (hierarchy / PREFIX, *(hierarchy / PREFIX / name for name in names)):
            group.mkdir(exist_ok=True)
            for each in ("cpuset.cpus", "cpuset.mems"):  # version 1 begins with none
                if hierarchy != GROUPS and (group / each).exists():
                    (group / each).write_text((hierarchy / each).read_text())


def start(name: str, command: Sequence[str | Path], logs: Path) -> subprocess.Popen[bytes]:
    """A process that `end_all` ends; what it prints goes to its own file in `logs`."""
    group = hierarchies()[0] / PREFIX / "programs" / "cgroup.procs"
    words = ["sh", "-c", ENTER, str(group), *(str(each) for each in command)]
    with (logs / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def end_all() -> None:
    """Of this run, or of one that was killed: processes, control groups, networks.

    :raises CommandFailed: if a process does not end.
    """
    deadline = time.monotonic() + END_SECONDS
    while pids := _pids():
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise CommandFailed(f"processes do not end: {sorted(pids)}")
        time.sleep(PAUSE_SECONDS)
    # Beside version 1 there may be one of version 2, where containerd makes groups too.
    for hierarchy in (GROUPS, *GROUPS.iterdir()):
        for group in _folders(hierarchy / PREFIX):
            with suppress(OSError):  # the kernel frees a group a moment after its last process
                group.rmdir()
    for line in run("ip", "netns", "list").splitlines():
        if (name := line.split()[0]).startswith(f"{PREFIX}-"):
            run("ip", "netns", "delete", name)


def _pids() -> set[int]:
    found: set[int] = set()
    for group in (each for one in hierarchies() for each in _folders(one / PREFIX)):
        with suppress(OSError):
            found |= {int(each) for each in (group / "cgroup.procs").read_text().split()}
    return found


def _folders(top: Path) -> list[Path]:
    """The innermost first."""
    return sorted((each for each in (top, *top.rglob("*")) if each.is_dir()), reverse=True)
