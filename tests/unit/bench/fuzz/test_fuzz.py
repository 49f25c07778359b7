"""A sample of `python -m bench fuzz`, on a gateway in this process; and what the judge sees."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from bench.fuzz.requests import Fuzzer, Request, methods
from bench.fuzz.session import FuzzSession
from realm.client.wire import server_options
from realm.errors import FailedPrecondition, RealmError
from realm.process.rpc import ErrorInterceptor
from realm.records.store import Store
from realm.v1 import retrieval_pb2_grpc
from tests.unit.gateway.indexer import running_indexer
from tests.unit.gateway.site import MemorySearch, World, running

WORDS = ("where", "is", "the", "tower", "river", "acme", "tenant", "g1-1", "number", "lang")
REQUESTS = 1_300
PUBLIC = {path: each for path, each in methods().items() if path.startswith("/realm.v1.")}


def test_requests_follow_from_the_seed_and_cover_every_method() -> None:
    def some(seed: int) -> list[Request]:
        return list(itertools.islice(Fuzzer(seed, WORDS).requests(methods()), 100))

    assert some(3) == some(3) != some(4)
    assert {each.method for each in some(3)} == set(methods())


async def test_no_request_is_answered_by_a_fault_or_says_too_much(tmp_path: Path) -> None:
    world = World(Store.open(str(tmp_path / "store")), MemorySearch(), tmp_path)
    first = world.go_live(seed=1, step=10)
    async with (
        running_indexer() as (_, address),
        running(world, indexer_url=address, leader_wait_seconds=0.1) as site,
    ):
        await site.serves(first)
        secrets = [address, str(world.folder), "127.0.0.1", "redis://", "file://"]
        session = FuzzSession(site.channel, PUBLIC, secrets, seconds=2.0)
        requests = itertools.islice(Fuzzer(0, WORDS).requests(PUBLIC), REQUESTS)
        await session.send_all(requests, at_once=16)
        found = session.findings
    assert found.total == REQUESTS
    assert found.faults == []
    assert found.leaks == []
    answered = {name for name, code in found.answers if code == "OK"}
    # Some of the requests to each are good enough to be carried out.
    assert answered >= {"RetrievePassages", "AnswerQuestion", "UpsertDocuments", "GetIndexStatus"}


class Leaky(retrieval_pb2_grpc.RetrievalServiceServicer):
    """What the judge has to see."""

    def __init__(self) -> None:
        self.fault: BaseException = ValueError("x")

    async def RetrievePassages(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise self.fault


@pytest.fixture
async def leaky() -> AsyncIterator[tuple[Leaky, str]]:
    servicer = Leaky()
    server = grpc.aio.server(interceptors=[ErrorInterceptor()], options=server_options())
    retrieval_pb2_grpc.add_RetrievalServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, f"127.0.0.1:{port}"
    await server.stop(0)


@pytest.mark.parametrize(
    ("fault", "is_fault", "leaks"),
    [
        (ValueError("x"), True, 0),
        (RealmError("KeyError: 'x'"), True, 1),
        (FailedPrecondition("the store s3://bucket is away"), False, 1),
    ],
)
async def test_the_judge_sees_faults_and_leaks(
    leaky: tuple[Leaky, str], fault: BaseException, is_fault: bool, leaks: int
) -> None:
    servicer, address = leaky
    servicer.fault = fault
    method = "/realm.v1.RetrievalService/RetrievePassages"
    async with grpc.aio.insecure_channel(address) as channel:
        session = FuzzSession(channel, {method: methods()[method]}, ["s3://"], seconds=5.0)
        await session.send_all([Request(method, (b"",))], at_once=1)
    assert bool(session.findings.faults) == is_fault
    assert len(session.findings.leaks) == leaks
