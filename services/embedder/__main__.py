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
from services.embedder.claims import WorkClaims
from services.embedder.encoding import Compute, Encoders
from services.embedder.liveness import Liveness
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
        sys.stderr.write(f"{error.message}\n")
        sys.exit(2)
    sys.exit(worker.run(worker.make_app(settings, embedder), settings, embedder))


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
