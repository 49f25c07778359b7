"""Wall clocks of their own for processes, by libfaketime. Monotonic clocks stay as they are."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from services.standalone.cluster import ProcessSpec

SHARED_MEMORY = Path("/dev/shm")


class Clocks:
    """`names` are the processes that have one; `folder` takes a file for each, which libfaketime
    reads once a second."""

    def __init__(self, folder: Path, library: Path) -> None:
        self.names: list[str] = []
        self._folder = folder
        self._library = library
        folder.mkdir(parents=True, exist_ok=True)

    def fit(self, spec: ProcessSpec) -> ProcessSpec:
        """The same process with a clock of its own, right to begin with."""
        self.names.append(spec.name)
        self.set(spec.name, 0.0)
        own = {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._folder / spec.name),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # Times of files are the file server's.
            "NO_FAKE_STAT": "1",
        }
        return replace(spec, environment={**spec.environment, **own})

    def set(self, name: str, seconds: float) -> None:
        """How far a process's clock is ahead from now on; it may be running."""
        fresh = self._folder / f".{name}"
        fresh.write_text(f"{seconds:+.3f}\n")
        fresh.rename(self._folder / name)


def remove_leftovers() -> None:
    """Of processes that are dead: libfaketime leaves them in shared memory."""
    for path in SHARED_MEMORY.glob("*faketime_s*_*"):
        pid = path.name.rpartition("_")[2]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            with suppress(OSError):  # another user's
                path.unlink()
