from __future__ import annotations

import pytest
from celery import Celery

from realm.errors import DependencyUnavailable
from realm.queue import EMBED_CHANGES, EMBED_SHARD
from realm.settings import load_settings
from services.indexer.metrics import IndexerMetrics
from services.indexer.tasks import Tasks, make_sender, wanted
from tests.integration.redis_process import free_port
from tests.unit.indexer.examples import generation

WANT = wanted(EMBED_SHARD, generation(4, snapshot=7), "in", "out")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def app() -> Celery:
    return Celery("tests", broker="memory://")


def sent(app: Celery, queue: str) -> list[dict[str, object]]:
    """Takes the messages out of the in-memory broker: their keyword arguments."""
    found = []
    with app.connection() as connection, connection.SimpleQueue(queue) as messages:
        while messages.qsize():
            message = messages.get(block=False)
            message.ack()
            found.append(message.decode()[1] | {"expires": message.headers["expires"]})
    return found


def test_a_task_is_sent_once_and_again_only_after_a_while(
    app: Celery, metrics: IndexerMetrics
) -> None:
    clock = Clock()
    tasks = Tasks(app, 100.0, metrics, clock)
    assert tasks.ask(WANT)
    assert not tasks.ask(WANT)
    clock.now = 99.0
    assert not tasks.ask(WANT)
    clock.now = 100.0
    assert tasks.ask(WANT)
    messages = sent(app, "realm.embed")
    assert len(messages) == 2
    assert {**messages[0], "expires": None} == {
        "snapshot": 7, "input_file": "in", "output_file": "out", "generation": 4, "expires": None,
    }  # fmt: skip
    assert all(message["expires"] for message in messages)
    assert metrics.shards_requeued._value.get() == 1


def test_forgotten_tasks_are_sent_at_once(app: Celery, metrics: IndexerMetrics) -> None:
    tasks = Tasks(app, 100.0, metrics, Clock())
    tasks.ask(WANT)
    tasks.forget("out")
    assert tasks.ask(WANT)
    tasks.forget()
    assert tasks.ask(WANT)
    assert len(sent(app, "realm.embed")) == 3


def test_changes_have_a_queue_of_their_own(app: Celery, metrics: IndexerMetrics) -> None:
    Tasks(app, 100.0, metrics).ask(wanted(EMBED_CHANGES, generation(1), "in", "out"))
    assert len(sent(app, "realm.delta")) == 1


def test_without_the_queue_nothing_counts_as_asked(metrics: IndexerMetrics) -> None:
    settings = load_settings(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    with make_sender(settings) as app:
        tasks = Tasks(app, 100.0, metrics)
        for _ in range(2):
            with pytest.raises(DependencyUnavailable):
                tasks.ask(WANT)
