"""The examples in other languages: made from the protos alone, asked of a real gateway."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

from realm.records.store import Store
from tests.unit.gateway.site import MemorySearch, World, running

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
QUESTION = "who built the tower"
WHERE = "tenant=globex"
SECONDS = 280


async def run(folder: Path, *command: str) -> tuple[int, str]:
    """A command's exit code, and what it printed last."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return process.returncode, said.decode()[-2_000:]


async def make(tmp_path: Path, language: str, tool: str, *fetch: str) -> Path:
    """A copy of an example beside the protos, with what it depends on.

    Skips without the toolchain, or where its packages cannot be fetched.
    """
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    folder = tmp_path / "examples" / language
    shutil.copytree(ROOT / "examples" / language, folder)
    code, said = await run(folder, *fetch)
    if code:
        pytest.skip(f"{' '.join(fetch)}: {said}")
    return folder


async def answers(tmp_path: Path, folder: Path, *client: str) -> list[str]:
    """What the client prints."""
    world = World(Store.open(str(tmp_path / "store")), MemorySearch(), tmp_path)
    generation = world.go_live(seed=1, step=10)
    async with running(world) as site:
        await site.serves(generation)
        address = f"127.0.0.1:{site.gateway.port}"
        code, said = await run(folder, *client, address, QUESTION, WHERE)
    assert code == 0, said
    return said.splitlines()


def check(lines: list[str]) -> None:
    """Each line: answer, document, character offset, generation."""
    assert lines
    for line in lines:
        _, document, start, generation = line.rsplit(" ", 3)
        assert document in ("g1-1", "g1-3")  # globex' documents
        assert int(start) >= 100
        assert generation == "1"


async def test_a_client_in_go(tmp_path: Path) -> None:
    folder = await make(tmp_path, "go", "go", "go", "mod", "download")
    for command in (("buf", "generate"), ("go", "build", "-o", "client", ".")):
        code, said = await run(folder, *command)
        assert code == 0, said
    check(await answers(tmp_path, folder, "./client"))


async def test_a_client_in_typescript(tmp_path: Path) -> None:
    fetch = ("npm", "install", "--no-fund", "--no-audit", "--no-package-lock")
    folder = await make(tmp_path, "typescript", "npm", *fetch)
    code, said = await run(folder, "npm", "run", "build")
    assert code == 0, said
    check(await answers(tmp_path, folder, "node", "client.js"))
