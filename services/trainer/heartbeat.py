"""A file touched while the trainer lives, for liveness probes."""

from __future__ import annotations

from pathlib import Path


class Heartbeat:
    """Beats between two steps and while waiting: a step that hangs lets the file grow old.

    :param file: empty for none.
    """

    def __init__(self, file: str) -> None:
        self._file = Path(file) if file else None

    def beat(self) -> None:
        if self._file is not None:
            self._file.touch()
