"""How far a command has got: after a kill the same one goes on from there."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Note:
    """What a command notes for the next time that the same one is given, one small file replaced as
    a whole. A machine without a place to keep it keeps none."""

    def __init__(self, command: str, about: Any) -> None:
        """:param about: what else the command said, and must say again."""
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        self._file = Path(state) / "realm" / command / f"{_digest(about)}.json"

    def read(self) -> dict[str, Any]:
        """Empty if there is none, or none that can be read."""
        try:
            found = json.loads(self._file.read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def write(self, values: dict[str, Any]) -> None:
        staged = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            staged.write_text(json.dumps(values))
            staged.replace(self._file)

    def delete(self) -> None:
        with suppress(OSError):
            self._file.unlink(missing_ok=True)


@dataclass(slots=True)
class Resuming:
    """`done` documents are written, in the order in which they are read; `name` names the import,
    so that a batch whose acknowledgement got lost is not written again."""

    note: Note
    name: str
    #: The files as they are: of others nothing is resumed.
    inputs: str
    done: int = 0

    @classmethod
    def of(cls, about: list[Any], paths: Sequence[Path]) -> Resuming:
        """What is known of the import of these paths; a new one if nothing is.

        :param about: what else the command said.
        """
        note = Note("imports", [about, [str(path.absolute()) for path in paths]])
        inputs = _digest(sorted(_stamps(paths)))
        fresh = cls(note, f"import-{uuid.uuid4().hex}", inputs)
        found = note.read()
        try:
            known = cls(note, str(found["name"]), str(found["inputs"]), int(found["done"]))
        except (ValueError, KeyError, TypeError):
            return fresh
        return known if known.inputs == inputs else fresh

    def written(self, count: int) -> None:
        self.done += count
        self.note.write({"name": self.name, "inputs": self.inputs, "done": self.done})

    def end(self) -> None:
        """The same command begins anew next time."""
        self.note.delete()


def _stamps(paths: Sequence[Path]) -> Iterator[tuple[str, int, int]]:
    for path in paths:
        files = [path]
        if path.is_dir():
            files = [Path(here, name) for here, _, names in os.walk(path) for name in names]
        for each in files:
            with suppress(OSError):
                found = each.stat()
                yield str(each), found.st_size, found.st_mtime_ns


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
