"""How far an import has got: after a kill the same command goes on from there."""

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


@dataclass(slots=True)
class Resuming:
    """`done` documents are written, in the order in which they are read; `name` names the import,
    so that a batch whose acknowledgement got lost is not written again. A machine without a place
    to keep that cannot resume."""

    file: Path
    name: str
    #: The files as they are: of others nothing is resumed.
    inputs: str
    done: int = 0

    @classmethod
    def of(cls, about: list[Any], paths: Sequence[Path]) -> Resuming:
        """What is known of the import of these paths; a new one if nothing is.

        :param about: what else the command said.
        """
        command = _digest([about, [str(path.absolute()) for path in paths]])
        file = _folder() / f"{command}.json"
        inputs = _digest(sorted(_stamps(paths)))
        fresh = cls(file, f"import-{uuid.uuid4().hex}", inputs)
        try:
            found = json.loads(file.read_bytes())
            known = cls(file, str(found["name"]), str(found["inputs"]), int(found["done"]))
        except (OSError, ValueError, KeyError, TypeError):
            return fresh
        return known if known.inputs == inputs else fresh

    def written(self, count: int) -> None:
        self.done += count
        staged = self.file.with_name(f"{self.file.name}.{os.getpid()}")
        with suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            known = {"name": self.name, "inputs": self.inputs, "done": self.done}
            staged.write_text(json.dumps(known))
            staged.replace(self.file)

    def end(self) -> None:
        """The same command begins anew next time."""
        with suppress(OSError):
            self.file.unlink(missing_ok=True)


def _folder() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "realm" / "imports"


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
