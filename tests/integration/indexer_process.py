"""The indexer as a process of its own, and calls to it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import grpc

from realm.internal.v1 import serving_pb2_grpc
from realm.v1 import corpus_pb2, corpus_pb2_grpc, index_pb2, index_pb2_grpc, types_pb2
from tests.integration.indexing import Bench, document
from tests.ports import free_port
from tests.waiting import until

DEADLINE = 60.0
CALL_SECONDS = 15


class IndexerProcess:
    """`python -m services.indexer`, and stubs to call it."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.port = free_port()
        self.log = bench.folder / "indexer.log"
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}")
        self.corpus = corpus_pb2_grpc.CorpusServiceStub(self.channel)
        self.index = index_pb2_grpc.IndexServiceStub(self.channel)
        self.serving = serving_pb2_grpc.ServingReportServiceStub(self.channel)
        self.start()

    def start(self) -> None:
        settings = self.bench.settings
        environment = {
            **os.environ,
            "REALM_STORE_URL": settings.addresses.store_url,
            "REALM_REDIS_URL": settings.addresses.redis_url,
            "REALM_QDRANT_URL": settings.addresses.qdrant_url,
            "REALM_INDEXER_LISTEN": f"127.0.0.1:{self.port}",
            "REALM_SHARD_SECONDS": str(settings.indexer.shard_seconds),
            "REALM_RECONCILE_SECONDS": "0.3",
            "REALM_WORDS_FIRST": str(settings.indexer.words_first),
            "REALM_GATE_PROBES": "60",
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.indexer"],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        grpc.channel_ready_future(self.channel).result(timeout=DEADLINE)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=10)

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
        self.channel.close()

    def status(self) -> Any:
        request = index_pb2.GetIndexStatusRequest()
        return self.index.GetIndexStatus(request, timeout=CALL_SECONDS, wait_for_ready=True).status

    def until(self, what: str, holds: Any) -> Any:
        def found() -> Any:
            status = self.status()
            return status if holds(status) else None

        return until(found, what, DEADLINE, self.log.read_text)

    def write(self, *numbers: int) -> int:
        documents = [document(number) for number in numbers]
        response = self.corpus.UpsertDocuments(
            corpus_pb2.UpsertDocumentsRequest(
                documents=[
                    types_pb2.Document(id=d.id, title=d.title, text=d.text, metadata=d.metadata)
                    for d in documents
                ]
            ),
            timeout=CALL_SECONDS,
        )
        return int(response.corpus_version)
