"""What running processes have taken."""

from __future__ import annotations

import psutil


def processor_seconds(process: psutil.Process) -> float:
    """Of processor time since its start, its children's not among them."""
    times = process.cpu_times()
    return float(times.user + times.system)
