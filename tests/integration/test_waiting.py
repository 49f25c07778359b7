"""Gateway and indexer whose S3 is not there yet: alive, not ready, and then they serve."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.apparatus.s3 import S3Server
from realm.client.wire import RECONNECT_MS, from_rpc_error
from realm.errors import NotReady
from realm.v1 import answer_pb2, answer_pb2_grpc, corpus_pb2, corpus_pb2_grpc
from tests.ports import free_port
from tests.waiting import until

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
NOWHERE = "127.0.0.1:1"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """It has its bucket, and does not listen."""
    made = S3Server()
    made.use(monkeypatch.setenv)
    made.stop()
    yield made
    made.stop()


class Waiting:
    """A process of ours, started while its store is away."""

    def __init__(
        self, service: str, folder: Path, store_url: str, redis_url: str = f"redis://{NOWHERE}/0"
    ) -> None:
        self.port, self.metrics, self.probed = free_port(), free_port(), free_port()
        self.log = folder / f"{service}.log"
        environment = {
            **os.environ,
            "REALM_STORE_URL": store_url,
            "REALM_STORE_CACHE": str(folder / "copies"),
            "REALM_REDIS_URL": redis_url,
            "REALM_QDRANT_URL": f"http://{NOWHERE}",
            f"REALM_{service.upper()}_LISTEN": f"127.0.0.1:{self.port}",
            "REALM_HEALTH_LISTEN": f"127.0.0.1:{self.probed}",
            "REALM_METRICS_PORT": str(self.metrics),
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"services.{service}"],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        options = [("grpc.max_reconnect_backoff_ms", RECONNECT_MS)]
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}", options=options)
        self.probe = grpc.insecure_channel(f"127.0.0.1:{self.probed}", options=options)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(timeout=10)
        self.channel.close()
        self.probe.close()

    def health(self, name: str, channel: grpc.Channel | None = None) -> int | None:
        stub = health_pb2_grpc.HealthStub(channel or self.channel)
        try:
            return int(stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=2).status)
        except grpc.RpcError:
            return None

    def until(self, name: str, status: int) -> None:
        def answers() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return {self.health(name), self.health(name, self.probe)} == {status}

        until(answers, f"health {name!r}", log=self.log.read_text)


@pytest.mark.parametrize(
    ("service", "ready", "then"), [("gateway", "ready", "live"), ("indexer", "able", "able")]
)
def test_it_is_alive_but_not_ready_until_its_store_answers(
    service: str, ready: str, then: str, tmp_path: Path, s3: S3Server
) -> None:
    waiting = Waiting(service, tmp_path, s3.url)
    try:
        waiting.until("live", SERVING)
        assert waiting.health("") == NOT_SERVING
        assert waiting.health(ready) == NOT_SERVING
        assert waiting.health(ready, waiting.probe) == NOT_SERVING
        with pytest.raises(grpc.RpcError) as refused:
            call(service, waiting.channel)
        assert isinstance(from_rpc_error(refused.value), NotReady)
        with urlopen(f"http://127.0.0.1:{waiting.metrics}/metrics", timeout=5) as metrics:
            assert b"realm_build_info" in metrics.read()
        s3.start()
        event = "gateway_listening" if service == "gateway" else "indexer_ready"
        until(lambda: event in waiting.log.read_text(), event, log=waiting.log.read_text)
        waiting.until(then, SERVING)
        assert waiting.process.poll() is None
    finally:
        waiting.close()


def call(service: str, channel: grpc.Channel) -> None:
    if service == "gateway":
        asked = answer_pb2.AnswerQuestionRequest(question="who?")
        answer_pb2_grpc.AnswerServiceStub(channel).AnswerQuestion(asked, timeout=5)
    else:
        batches = iter([corpus_pb2.ImportDocumentsRequest()])
        corpus_pb2_grpc.CorpusServiceStub(channel).ImportDocuments(batches, timeout=5)


@pytest.mark.parametrize("service", ["gateway", "indexer"])
@pytest.mark.parametrize("moment", ["it waits", "it listens no more", "it listens again"])
def test_it_ends_when_it_is_told_to_at_whatever_moment_of_its_start(
    service: str, moment: str, tmp_path: Path, s3: S3Server, redis_url: str
) -> None:
    waiting = Waiting(service, tmp_path, s3.url, redis_url)
    listens = "gateway_listening" if service == "gateway" else "indexer_ready"

    def come() -> bool:
        log = waiting.log.read_text()
        gone = moment == "it listens no more" and waiting.health("live") is None
        return gone or listens in log

    try:
        waiting.until("live", SERVING)
        if moment != "it waits":
            s3.start()
            until(come, moment, log=waiting.log.read_text)
        waiting.process.terminate()
        assert waiting.process.wait(timeout=90) == 0, waiting.log.read_text()
    finally:
        waiting.close()
