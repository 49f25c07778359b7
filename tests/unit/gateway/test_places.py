"""With everything behind it away, a gateway tells no caller where that would be."""

from __future__ import annotations

from typing import Any

import pytest

from bench.fuzz.requests import Request, methods
from bench.fuzz.session import FuzzSession
from realm.errors import DependencyUnavailable
from tests.unit.access.test_guard import TOWARDS_ANOTHER_S
from tests.unit.gateway.site import NOWHERE, World, running

PUBLIC = {path: each for path, each in methods().items() if path.startswith("/realm.v1.")}


async def test_no_answer_names_a_place(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = world.go_live(seed=1, step=10)

    async def away(*_: Any, **__: Any) -> Any:
        raise DependencyUnavailable(f"Qdrant at http://{NOWHERE} does not answer: {world.folder}/x")

    async with running(world, leader_wait_seconds=0.05) as site:
        await site.serves(first)
        monkeypatch.setattr(world.search, "search", away)

        def no_file(path: str) -> Any:
            raise OSError(f"{world.folder}/{path} cannot be reached")

        for name in ("read", "files", "exists"):
            monkeypatch.setattr(world.store._files, name, no_file)
        secrets = [NOWHERE, str(world.folder), "127.0.0.1", "redis://", "file://", "http://"]
        session = FuzzSession(site.channel, PUBLIC, secrets, seconds=8.0)
        await session.send_all([_good(path) for path in PUBLIC], at_once=8)
    assert session.findings.leaks == []
    assert session.findings.faults == []
    ended = dict(list(session.findings.answers))
    well = {"GetIndexStatus": "OK", "BatchRetrievePassages": "OK", "AnswerQuestions": "OK"}
    assert ended == dict.fromkeys(ended, "UNAVAILABLE") | well


def _good(path: str) -> Request:
    """One that is refused for what is away alone."""
    given = TOWARDS_ANOTHER_S.get(path.rpartition("/")[2])
    return Request(path, (given.SerializeToString() if given is not None else b"",))
