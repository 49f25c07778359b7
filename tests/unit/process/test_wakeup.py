"""Nudges arrive; what was said before the end is still sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from realm.process.wakeup import Wakeup
from tests.integration.redis_process import RedisProcess


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    process = RedisProcess(tmp_path)
    yield process
    process.kill(wipe=False)


def heard(listener: Wakeup, count: int) -> set[str | None]:
    return {listener.wait(20.0) for _ in range(count)}


def test_wakeups_sent_before_closing_arrive(redis: RedisProcess) -> None:
    listener, speaker = Wakeup(redis.url), Wakeup(redis.url)
    listener.wait(0.01)
    speaker.send("snapshot")
    speaker.send("live")
    speaker.close()
    assert heard(listener, 2) == {"snapshot", "live"}
    speaker.send("nobody sends this any more")
    assert listener.wait(0.01) is None
    listener.close()


def test_wakeups_continue_when_redis_returns(redis: RedisProcess) -> None:
    speaker = Wakeup(redis.url)
    redis.kill(wipe=True)
    speaker.send("lost")
    redis.start()
    listener = Wakeup(redis.url)
    listener.wait(0.01)
    found = None
    for _ in range(50):
        speaker.send("live")
        if (found := listener.wait(1.0)) == "live":
            break
    assert found == "live"
    for each in (speaker, listener):
        each.close()
