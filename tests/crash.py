"""A disk that loses power: records what a process does to a folder, and shows what may be left.

Only what was synced is sure to survive. Of everything else each directory entry may have reached
the disk or not, in any order, and a file that was not synced may be whole, cut short or empty.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock


@dataclass(frozen=True)
class Op:
    """`kind`: add or remove (an entry of a folder), data, sync (a file), sync_folder."""

    kind: str
    path: str = ""
    file: int = 0  # 0: a folder
    data: bytes = b""


@dataclass
class Disk:
    """Operations below `root`. `syncs=False` is a disk, or a store, that syncs nothing."""

    root: Path
    syncs: bool = True
    ops: list[Op] = field(default_factory=list)
    _handles: dict[int, int | str] = field(default_factory=dict)
    _files: dict[str, int] = field(default_factory=dict)
    _last: int = 0

    @contextmanager
    def recording(self) -> Iterator[None]:
        with (
            self._wrapped("open", self._open),
            self._wrapped("write", self._write),
            self._wrapped("fsync", self._sync),
            self._wrapped("mkdir", self._mkdir),
            self._wrapped("link", self._link),
            self._wrapped("replace", self._replace),
            self._wrapped("unlink", self._remove),
            self._wrapped("rmdir", self._remove),
        ):
            yield

    def after(self, cut: int, chance: random.Random, target: Path) -> None:
        """Writes to `target` what a power cut after so many operations may leave."""
        durable: dict[str, int] = {}
        pending: list[Op] = []
        content: dict[int, bytearray] = {}
        synced: dict[int, bytes] = {}
        for op in self.ops[:cut]:
            match op.kind:
                case "data":
                    content.setdefault(op.file, bytearray()).extend(op.data)
                case "sync":
                    synced[op.file] = bytes(content.get(op.file, b""))
                case "sync_folder":
                    mine = [each for each in pending if _folder(each.path) == op.path]
                    pending = [each for each in pending if each not in mine]
                    for each in mine:
                        _apply(durable, each)
                case _:
                    pending.append(op)
        for op in pending:
            if chance.random() < 0.5:
                _apply(durable, op)
        target.mkdir(parents=True)
        for path, file in sorted(durable.items()):
            # An entry in a folder that did not survive did not either.
            if (target / path).parent.is_dir():
                if file:
                    whole = bytes(content.get(file, b""))
                    left = chance.choice((whole, whole[: len(whole) // 2], b""))
                    (target / path).write_bytes(synced.get(file, left))
                else:
                    (target / path).mkdir(exist_ok=True)

    @contextmanager
    def _wrapped(self, name: str, note: Callable[..., None]) -> Iterator[None]:
        real = getattr(os, name)

        def call(*given: Any, **more: Any) -> Any:
            returned = real(*given, **more)
            note(returned, *given)
            return returned

        with mock.patch.object(os, name, call):
            yield

    def _inside(self, path: Any) -> str | None:
        if not isinstance(path, str | os.PathLike):
            return None
        full = os.fspath(path)
        root = f"{self.root}/"
        return full[len(root) :] if full.startswith(root) else "" if full == root[:-1] else None

    def _open(self, handle: int, path: Any, flags: int = 0, *_: Any) -> None:
        inside = self._inside(path)
        self._handles.pop(handle, None)
        if inside is None:
            return
        if flags & os.O_DIRECTORY:
            self._handles[handle] = inside
            return
        if flags & os.O_CREAT and inside not in self._files:
            self._last += 1
            self._files[inside] = self._last
            self.ops.append(Op("add", inside, self._last))
        if inside in self._files:
            self._handles[handle] = self._files[inside]

    def _write(self, count: int, handle: int, data: Any) -> None:
        file = self._handles.get(handle)
        if isinstance(file, int):
            self.ops.append(Op("data", file=file, data=bytes(data[:count])))

    def _sync(self, _: None, handle: int) -> None:
        known = self._handles.get(handle)
        if known is None or not self.syncs:
            return
        if isinstance(known, str):
            self.ops.append(Op("sync_folder", known))
        else:
            self.ops.append(Op("sync", file=known))

    def _mkdir(self, _: None, path: Any, *__: Any) -> None:
        if inside := self._inside(path):
            self.ops.append(Op("add", inside))

    def _link(self, _: None, source: Any, target: Any) -> None:
        old, new = self._inside(source), self._inside(target)
        if old and new:
            self._files[new] = self._files[old]
            self.ops.append(Op("add", new, self._files[old]))

    def _replace(self, _: None, source: Any, target: Any) -> None:
        self._link(None, source, target)
        self._remove(None, source)

    def _remove(self, _: None, path: Any) -> None:
        if inside := self._inside(path):
            self._files.pop(inside, None)
            self.ops.append(Op("remove", inside))


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _apply(entries: dict[str, int], op: Op) -> None:
    if op.kind == "add":
        entries[op.path] = op.file
    else:
        entries.pop(op.path, None)
