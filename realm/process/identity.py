"""Names of processes by which another process of the same machine sees that they have ended."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path

PROC = Path("/proc")
#: Place of a process's start time in /proc/PID/stat, counted after its name.
START_TIME = 19


def process_identity() -> str:
    """`host/machine's boot/pid namespace/pid/start time`."""
    pid = os.getpid()
    return "/".join([socket.gethostname(), _machine(), str(pid), _started(pid)])


def process_has_ended(named: str) -> bool:
    """Whether a process has certainly ended; False if it ran on another machine."""
    host_and_machine, _, rest = named.rpartition("/")
    machine, _, pid = host_and_machine.rpartition("/")
    here = _machine()
    if not here.strip(":") or not pid.isdecimal() or not machine.endswith(f"/{here}"):
        return False
    return _started(int(pid)) != rest


@cache
def _machine() -> str:
    """Boot and pid namespace: two containers of one machine do not see each other's pids. Neither
    changes while a process lives."""
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{(PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When it started, in clock ticks since boot; empty if it is dead."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[START_TIME]
