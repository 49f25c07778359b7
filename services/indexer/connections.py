"""What an indexer reaches beside its store, and how its threads wait for one another."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from celery import Celery

from realm.process.wakeup import Wakeup
from realm.search.vector_index import ChangeHooks, VectorIndex, open_index
from realm.settings import Settings
from services.indexer.tasks import make_sender


@dataclass(frozen=True, slots=True)
class Connections:
    """`index` opens the vector index with hooks; `condition` makes what threads wait on: a
    simulation has another one."""

    index: Callable[[ChangeHooks], VectorIndex]
    queue: Celery
    wakeup: Wakeup
    condition: Callable[[], threading.Condition] = threading.Condition

    @classmethod
    def of(cls, settings: Settings) -> Connections:
        """:raises BadSettings: if Qdrant's URL is unusable."""
        return cls(
            index=partial(open_index, settings),
            queue=make_sender(settings),
            wakeup=Wakeup(settings.addresses.redis_url),
        )
