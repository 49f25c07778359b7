"""The message queue: one Celery configuration for those who send tasks and those who do them.

The store is the ledger: results are files, so nothing here has to survive. Redis may be wiped.

Celery hands a message out again if it was not acknowledged within the visibility timeout, by the
clock of whichever embedder looks. Too early, it meets the claim of who is at it, and is left; too
late, the indexer has asked anew long before.
"""

from __future__ import annotations

from celery import Celery

from realm.settings import Settings

EMBED_QUEUE = "realm.embed"
DELTA_QUEUE = "realm.delta"
EMBED_SHARD = "realm.embed_shard"
EMBED_CHANGES = "realm.embed_changes"
ENCODE_QUERIES = "realm.encode_queries"
#: A message header: the Unix time at which the task was sent. For a metric alone.
ASKED_AT = "asked_at"
#: Key of the claim of an embedder on the file that it makes; it lapses with its embedder.
WORK = "realm:work:"


def work_key(output_file: str) -> str:
    return WORK + output_file


def make_celery(settings: Settings) -> Celery:
    """Settings proven on Redis: nothing is lost with the worker, nothing is hoarded by it."""
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
            # Else dead workers' tasks are looked for every 100 s only.
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
