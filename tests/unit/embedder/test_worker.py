from __future__ import annotations

import dataclasses

import pytest
from celery.exceptions import Retry

from realm.process.queue import EMBED_CHANGES, EMBED_QUEUE, EMBED_SHARD, ENCODE_QUERIES
from realm.settings import load_settings
from services.embedder import __main__ as process
from services.embedder.__main__ import InGivenOrder, make_app, queue_names
from tests.unit.embedder.conftest import World


@pytest.mark.parametrize("order", [["b", "a", "c"], ["c", "b", "a"]])
def test_queues_are_consumed_in_the_order_given(order: list[str]) -> None:
    cycle = InGivenOrder(order)
    cycle.update({"a", "b", "c"})  # kombu hands over a set
    assert cycle.consume(3) == order
    cycle.rotate(order[0])
    assert cycle.consume(3) == order


def test_queue_names_may_have_spaces() -> None:
    assert queue_names(load_settings(embedder_queues=" x , y,")) == ["x", "y"]


def test_the_agreed_tasks_are_registered(world: World) -> None:
    app = make_app(load_settings(), world.embedder)
    assert {EMBED_SHARD, EMBED_CHANGES, ENCODE_QUERIES} <= set(app.tasks)
    app.close()


def test_a_task_that_is_tried_again_names_no_time_of_day(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a worker whose clock is behind would sit on it."""
    monkeypatch.setattr(process, "RETRY_SECONDS", 0.0)
    assert world.store.root is not None
    file = world.store.root / world.job.input_file
    file.unlink()
    file.symlink_to(file)  # reading fails, yet not for want of the file
    kwargs = dataclasses.asdict(world.job)
    with make_app(load_settings(redis_url="memory://"), world.embedder) as app:
        task = app.tasks[EMBED_SHARD]
        task.push_request(
            id="a", args=[], kwargs=kwargs, retries=0, called_directly=False,
            delivery_info={"exchange": "", "routing_key": EMBED_QUEUE},
        )  # fmt: skip
        with pytest.raises(Retry):
            task.run(**kwargs)
        with app.connection() as connection, connection.SimpleQueue(EMBED_QUEUE) as messages:
            message = messages.get(block=False)
    assert message.decode()[1] == kwargs
    assert (message.headers["eta"], message.headers["expires"]) == (None, None)
