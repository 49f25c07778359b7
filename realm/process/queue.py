"""The task queue: one Celery configuration for senders and workers.

The store is the ledger: results are files, so nothing here has to survive. Redis may be wiped.

Celery delivers a message again if it was not acknowledged within the visibility timeout, by the
clock of the embedder that checks. Too early, the task finds another embedder's claim and is
dropped; too late, the indexer has sent a new one long before.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from realm.settings import Settings

if TYPE_CHECKING:
    from celery import Celery

EMBED_QUEUE = "realm.embed"
DELTA_QUEUE = "realm.delta"
EMBED_SHARD = "realm.embed_shard"
EMBED_CHANGES = "realm.embed_changes"
ENCODE_QUERIES = "realm.encode_queries"
#: A message header: the Unix time at which the task was sent, for a metric alone.
ASKED_AT = "asked_at"
#: Prefix of the key that claims an output file for an embedder; it expires with the embedder.
WORK = "realm:work:"


def work_key(output_file: str) -> str:
    return WORK + output_file


def held_by(process: str) -> str:
    """A claim's value: its holder, and what tells one claim from another."""
    return f"{process}#{uuid.uuid4().hex}"


def holder(claim: bytes) -> str:
    return claim.decode(errors="replace").rpartition("#")[0]


def make_celery(settings: Settings) -> Celery:
    """A worker that dies loses no task and has none prefetched."""
    from celery import Celery  # names of queues are asked for by processes that have none

    app = Celery("realm", broker=settings.addresses.redis_url)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_default_queue=EMBED_QUEUE,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_concurrency=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        visibility_timeout=settings.embedder.visibility_seconds,
        broker_transport_options={
            "visibility_timeout": settings.embedder.visibility_seconds,
            # Otherwise tasks of dead workers are looked for only every 100 s.
            "unacked_restore_throttle": 1,
            "socket_keepalive": True,
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
        },
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        enable_utc=True,
    )
    return app
