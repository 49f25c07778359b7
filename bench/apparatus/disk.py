"""A small disk for one process: a file system in memory whose size can be set while it is in use.

It lies in a mount namespace that a process of its own keeps, so that nobody needs to be root, and
restarts of its user leave its contents alone.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from realm.errors import BadSettings
from services.standalone.cluster import ProcessSpec

ROOMY_BYTES = 1 << 30
PAGE = 4096
SECONDS = 10.0
HOLD = 'mount -t tmpfs -o size="$1" tmpfs "$2" && echo there && exec cat'


class Disk:
    """`open` it, give it to a process by `fit`, `fill` and `empty` it, `close` it."""

    def __init__(self, folder: Path) -> None:
        """:param folder: where it is mounted, for those who are given it.
        :raises BadSettings: if this machine cannot do that.
        """
        self._folder = folder
        if missing := [name for name in ("unshare", "nsenter", "mount") if not shutil.which(name)]:
            raise self._impossible(f"there is no {missing[0]}")

    def open(self) -> None:
        """:raises BadSettings: if this machine cannot do that."""
        self._folder.mkdir(parents=True, exist_ok=True)
        command = ["unshare", "--map-root-user", "--mount", "sh", "-c", HOLD, "sh"]
        self._holder = subprocess.Popen(
            [*command, str(ROOMY_BYTES), str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        assert self._holder.stdout
        if (said := self._holder.stdout.readline().strip()) != "there":
            self.close()
            raise self._impossible(said)

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()

    def fit(self, spec: ProcessSpec) -> ProcessSpec:
        """The same process, with the disk."""
        return replace(spec, command=(*self._inside(), *spec.command))

    def fill(self, free: int = 0) -> None:
        """No more goes onto it than is there now, and `free` bytes."""
        told = self._run("stat", "--file-system", "--format", "%b %f %S", str(self._folder))
        blocks, unused, size = map(int, told.split())
        self._resize((blocks - unused) * size + free + PAGE)

    def empty(self) -> None:
        """There is room again; what was there stays."""
        self._resize(ROOMY_BYTES)

    def _resize(self, size: int) -> None:
        self._run("mount", "-o", f"remount,size={size}", str(self._folder))

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            [*self._inside(), *command], check=True, capture_output=True, text=True, timeout=SECONDS
        )
        return done.stdout

    def _inside(self) -> tuple[str, ...]:
        target = ("--target", str(self._holder.pid))
        return ("nsenter", *target, "--user", "--mount", "--preserve-credentials")

    def _impossible(self, why: str) -> BadSettings:
        return BadSettings(
            f"no small disk can be made on this machine ({why}): leave the faults that need one out"
            " with --without full_qdrant"
        )
