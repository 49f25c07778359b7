"""Redis accepts and does not answer, as behind a dead route: nobody waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from realm.corpus.documents import Document
from realm.corpus.table import CorpusTable
from realm.process.queue import EMBED_QUEUE, EMBED_SHARD
from realm.process.wakeup import Wakeup
from realm.records.store import Store
from realm.settings import load_settings
from services.indexer.tasks import OutstandingTasks, make_sender
from services.indexer.writes.writer import Writer, check_changes
from tests.silent import silent_port

#: Half of what these took when each waited for an answer.
SECONDS = 20.0


@pytest.fixture
def redis_url() -> Iterator[str]:
    with silent_port() as port:
        yield f"redis://127.0.0.1:{port}/0"


def test_a_silent_redis_holds_no_commit_up(store: Store, redis_url: str) -> None:
    wakeup = Wakeup(redis_url)
    writer = Writer(lambda: CorpusTable(store), 0.0, lambda version: wakeup.send("writes"))
    writer.start()
    changes = [check_changes("", [Document(name, "", "Text.")], [], 100) for name in "abcdefgh"]

    def write() -> list[int]:
        return [writer.submit(*each).result(SECONDS) for each in changes]

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(write).result(SECONDS) == list(range(1, 9))
    writer.stop()
    writer.join(SECONDS)
    wakeup.close()


def test_a_silent_redis_takes_no_task_and_says_so_soon(redis_url: str) -> None:
    sender = make_sender(load_settings(redis_url=redis_url))
    thread = ThreadPoolExecutor(2)
    sent = thread.submit(sender.send_task, EMBED_SHARD, queue=EMBED_QUEUE, retry=False)
    outstanding = OutstandingTasks(redis_url, lambda generation: True)
    asked = thread.submit(outstanding.holds, EMBED_QUEUE, "out")
    for each in (sent, asked):
        with pytest.raises((OperationalError, RedisError)):
            each.result(SECONDS)
    outstanding.close()
    thread.shutdown(wait=False, cancel_futures=True)
