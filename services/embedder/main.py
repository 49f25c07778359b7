"""The embedder process: settings, model runtime, one Celery worker."""

from __future__ import annotations

import sys

import structlog

from realm.errors import BadSettings
from realm.model import runtime
from realm.process import telemetry
from realm.process.wakeup import Wakeup
from realm.records.generations import Generations
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from realm.settings import Settings, load_settings
from services.embedder import worker
from services.embedder.deliveries import Deliveries
from services.embedder.encoders import Encoders
from services.embedder.encoding import Compute
from services.embedder.liveness import Drain, Heartbeat
from services.embedder.metrics import EmbedderMetrics
from services.embedder.tasks import Embedder

# Writes go to every active generation: the candidate, live and the retained one.
SNAPSHOTS_IN_MEMORY = 3

log = structlog.get_logger(__name__)


def main() -> None:
    """Runs until SIGTERM; exit code 2 and one sentence if it cannot start."""
    try:
        settings = load_settings()
        telemetry.set_up(settings, "embedder")
        runtime.set_threads(settings.process.threads)
        embedder = make_embedder(settings)
    except BadSettings as error:
        sys.exit(_cannot_start(error))
    sys.exit(worker.run(worker.make_app(settings, embedder), settings, embedder))


def make_embedder(settings: Settings) -> Embedder:
    """:raises BadSettings: if store or device cannot be used."""
    device = runtime.pick_device(settings.process.device)
    dtype = runtime.best_dtype(device)
    # First: whoever waits for a store is alive.
    heartbeat = Heartbeat(settings.process.heartbeat_file)
    store = Store.await_open(settings.addresses.store_url, settings.addresses.store_cache)
    snapshots = Snapshots(store)
    log.info("embedder starts", device=str(device), dtype=str(dtype), store=store.url)
    return Embedder(
        store=store,
        snapshots=snapshots,
        generations=Generations(store),
        encoders=Encoders(snapshots, device, SNAPSHOTS_IN_MEMORY),
        compute=Compute(settings.embedder.embed_token_budget or None, dtype),
        deliveries=Deliveries(
            settings.addresses.redis_url,
            settings.embedder.work_silence_seconds,
            lambda: heartbeat.silent_seconds,
        ),
        max_deliveries=settings.embedder.max_deliveries,
        nudge=Wakeup(settings.addresses.redis_url),
        metrics=EmbedderMetrics(),
        heartbeat=heartbeat,
        drain=Drain(),
    )


def _cannot_start(error: BadSettings) -> int:
    sys.stderr.write(f"{error.message}\n")
    return 2
