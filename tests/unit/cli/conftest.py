from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from realm.cli.main import main
from realm.records.generation import Generation
from realm.records.store import Store
from tests.unit.gateway.indexer import MemoryIndexer, running_indexer
from tests.unit.gateway.site import MemorySearch, Site, World, running


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


@dataclass
class Shell:
    """`realm …` in this process, against a real gateway; `indexer` holds what it wrote."""

    site: Site
    indexer: MemoryIndexer
    capture: Any

    async def __call__(self, *arguments: str) -> Ended:
        return await self.bare(*arguments, "--address", f"127.0.0.1:{self.site.gateway.port}")

    async def bare(self, *arguments: str) -> Ended:
        """With these arguments alone."""
        code = await asyncio.to_thread(run, [*arguments])
        found = self.capture.readouterr()
        return Ended(code, found.out, found.err)


def run(arguments: list[str]) -> int:
    try:
        main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
async def realm(tmp_path: Path, capsys: Any, monkeypatch: Any) -> AsyncIterator[Shell]:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    world = World(Store.open(str(tmp_path / "store")), MemorySearch(), tmp_path)
    first = world.go_live(seed=1, step=10)
    with capture_logs():  # the gateway's, which would mix with the command's output
        async with _shell(world, first, capsys) as shell:
            yield shell


@asynccontextmanager
async def _shell(world: World, first: Generation, capsys: Any) -> AsyncIterator[Shell]:
    async with (
        running_indexer() as (indexer, address),
        running(world, indexer_url=address) as site,
    ):
        await site.serves(first)
        yield Shell(site, indexer, capsys)
