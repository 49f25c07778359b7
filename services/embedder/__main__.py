"""The embedder process: settings, model runtime, one Celery worker with its queues and retries.

Solo pool: one process, one task at a time, one device. Celery's own handling of SIGTERM would
sleep in the thread that runs the task, so the signal is handled here.
"""

from __future__ import annotations

import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import structlog
from celery import Celery
from celery.app import trace
from celery.exceptions import Reject
from celery.worker import WorkController
from celery.worker import state as worker_state
from celery.worker.request import Request
from kombu.utils.scheduling import priority_cycle
from prometheus_client import Histogram

from realm.errors import BadSettings, DependencyUnavailable
from realm.model import runtime
from realm.process import memory, telemetry
from realm.process.queue import ASKED_AT, EMBED_CHANGES, EMBED_SHARD, ENCODE_QUERIES, make_celery
from realm.process.signals import stop_signals
from realm.process.wakeup import Wakeup
from realm.records.generations import Generations
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from realm.settings import Settings, load_settings
from services.embedder.claims import WorkClaims
from services.embedder.encoding import Compute, Encoders
from services.embedder.liveness import Liveness
from services.embedder.metrics import EmbedderMetrics
from services.embedder.tasks import Embedder, Job, Outcome

RETRIES = 30
RETRY_SECONDS = 2.0
FAILURE = 1
# The event loop sleeps until its next timer: this bounds how late it notices a stop.
WAKE_SECONDS = 0.5

# Writes go to every active generation: the candidate, live and the retained one.
SNAPSHOTS_IN_MEMORY = 3

log = structlog.get_logger(__name__)


class InGivenOrder(priority_cycle):  # type: ignore[misc]
    """Queues in the order of the settings; kombu keeps them in a set, which has none."""

    def __init__(self, order: Sequence[str]) -> None:
        super().__init__()
        self._order = order

    def consume(self, n: int) -> list[str]:
        """The first `n` queues, first served first."""
        return sorted(self.items[:n], key=self._order.index)


class Delivery(Request):  # type: ignore[misc]
    """A task's delivery that raises if its acknowledgement is lost with the connection.

    Celery only logs that; the message then counts as in work for ever, and a worker that takes one
    at a time takes no other. The raised error makes it reconnect.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "connection_errors": ()})


def make_app(settings: Settings, embedder: Embedder) -> Celery:
    """The Celery application with the three tasks."""
    app = make_celery(settings)
    order = partial(InGivenOrder, queue_names(settings))
    app.conf.broker_transport_options["queue_order_strategy"] = order
    # Broadcast commands are not used, and each such channel is one more to reconnect.
    app.conf.worker_enable_remote_control = False
    for name, work in (
        (EMBED_SHARD, embedder.embed_shard),
        (EMBED_CHANGES, embedder.embed_changes),
        (ENCODE_QUERIES, embedder.encode_queries),
    ):
        wait = embedder.metrics.queue_wait.labels(name)
        task = _task(work, wait, embedder.liveness)
        app.task(task, name=name, bind=True, max_retries=RETRIES, Request=Delivery, shared=False)
    return app


def queue_names(settings: Settings) -> list[str]:
    """The queues to serve, first served first."""
    return [name.strip() for name in settings.embedder.embedder_queues.split(",") if name.strip()]


def run(app: Celery, settings: Settings, embedder: Embedder) -> int:
    """Consumes until SIGTERM or SIGINT; returns the exit code."""
    hostname = f"embedder@{socket.gethostname()}"
    trace.setup_worker_optimizations(app, hostname)
    worker: Any = WorkController(
        app=app,
        hostname=hostname,
        pool="solo",
        queues=queue_names(settings),
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        ready_callback=lambda _: log.info(
            "embedder_ready", queues=settings.embedder.embedder_queues
        ),
    )
    worker.timer.call_repeatedly(WAKE_SECONDS, lambda: None)

    def stop(signum: int, _frame: object) -> None:
        embedder.liveness.drain(settings.gateway.drain_seconds)
        worker_state.should_stop = 0

    for number in stop_signals():
        signal.signal(number, stop)
    worker.start()
    log.info("embedder_stopped", exit_code=worker.exitcode)
    return int(worker.exitcode or 0)


def _task(
    work: Callable[[Job], Outcome], wait: Histogram, liveness: Liveness
) -> Callable[..., None]:
    def task(
        self: Any, *, snapshot: int, input_file: str, output_file: str, generation: int
    ) -> None:
        job = Job(snapshot, input_file, output_file, generation)
        if (asked_at := self.request.get(ASKED_AT)) and not self.request.retries:
            wait.observe(max(0.0, time.time() - asked_at))
        try:
            outcome = work(job)
        except DependencyUnavailable as error:
            log.warning("task_retried", output=output_file, why=str(error))
            liveness.wait(RETRY_SECONDS)
            # No countdown: Celery turns it into a time of day by this machine's clock, and the
            # next worker would wait until its own clock says so.
            raise self.retry(exc=error, countdown=0) from error
        except Exception:
            # The fault may be this process or its device rather than the shard; it would soon fail
            # every shard in the queue. So the process ends, and its supervisor starts another.
            log.exception("embedder_failed", output=output_file)
            worker_state.should_stop = FAILURE
            raise
        if outcome is Outcome.INTERRUPTED:
            raise Reject(f"interrupted: {output_file}", requeue=True)

    return task


def main() -> None:
    """Runs until SIGTERM; exit code 2 and one sentence if it cannot start."""
    try:
        settings = load_settings()
        telemetry.set_up(settings, "embedder")
        runtime.set_threads(settings.process.threads)
        embedder = make_embedder(settings)
    except BadSettings as error:
        sys.stderr.write(f"{error.message}\n")
        sys.exit(2)
    app = make_app(settings, embedder)
    memory.keep_imports()
    sys.exit(run(app, settings, embedder))


def make_embedder(settings: Settings) -> Embedder:
    """:raises BadSettings: if store or device cannot be used."""
    device = runtime.pick_device(settings.process.device)
    dtype = runtime.best_dtype(device)
    # First: a process that waits for its store is alive.
    liveness = Liveness(settings.process.heartbeat_file)
    store = Store.await_open(settings.addresses.store_url, settings.addresses.store_cache)
    log.info("embedder_starting", device=str(device), dtype=str(dtype), store=store.url)
    compute = Compute(settings.embedder.embed_token_budget or None, dtype)
    redis_url = settings.addresses.redis_url
    claims = WorkClaims(
        redis_url, settings.embedder.work_silence_seconds, lambda: liveness.silent_seconds
    )
    claims.keep()
    return Embedder(
        store=store,
        generations=Generations(store),
        encoders=Encoders(Snapshots(store), device, SNAPSHOTS_IN_MEMORY, compute),
        claims=claims,
        max_deliveries=settings.embedder.max_deliveries,
        wakeup=Wakeup(redis_url),
        metrics=EmbedderMetrics(),
        liveness=liveness,
    )


if __name__ == "__main__":
    main()
