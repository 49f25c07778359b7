"""A front killed at random moments among changes of all kinds keeps what it acknowledged."""

from __future__ import annotations

import random
import time
from contextlib import closing
from dataclasses import dataclass, field
from threading import Event, Thread

import grpc
import pytest
from qdrant_client import QdrantClient, models

from tests.congruence.conftest import search
from tests.congruence.edge_server import LIMIT, EdgeServer

ROUNDS = 5
ALIAS = "live"


@dataclass
class Ledger:
    """What the server acknowledged, and the one change whose outcome a kill leaves open."""

    points: dict[str, int] = field(default_factory=dict)
    live: str | None = None
    open: str | None = None
    failure: grpc.StatusCode | None = None


def churn(client: QdrantClient, ledger: Ledger, killed: Event, start: int) -> None:
    """Creates, fills, points the alias, deletes, until the server is gone."""
    number = start
    try:
        while not killed.is_set():
            name = ledger.open = f"passages-{number}"
            client.create_collection(
                name,
                vectors_config={"dense": models.VectorParams(size=4, distance=models.Distance.DOT)},
            )
            ledger.points[name] = 0
            for batch in range(5):
                client.upsert(
                    name,
                    [
                        models.PointStruct(id=batch * 8 + i, vector={"dense": [1.0, 2.0, 3.0, i]})
                        for i in range(8)
                    ],
                )
                ledger.points[name] += 8
            action = models.CreateAlias(collection_name=name, alias_name=ALIAS)
            client.update_collection_aliases([models.CreateAliasOperation(create_alias=action)])
            former, ledger.live = ledger.live, name
            if former is not None:
                ledger.open = former
                client.delete_collection(former)
                del ledger.points[former]
                ledger.open = None
            number += 1
    except grpc.RpcError as error:
        ledger.failure = error.code()


def audit(client: QdrantClient, server: EdgeServer, ledger: Ledger) -> None:
    """The server holds what was acknowledged; the open change happened wholly or not at all."""
    there = {found.name for found in client.get_collections().collections}
    folders = {path.name for path in (server.folder / "collections").iterdir()}
    assert there == folders
    certain = set(ledger.points) - {ledger.open}
    assert certain <= there <= set(ledger.points) | {ledger.open}
    for name in there:
        assert client.count(name).count >= ledger.points.get(name, 0)
        search(client, name, [1.0] * 4)
    aliases = {found.alias_name: found.collection_name for found in client.get_aliases().aliases}
    if ledger.live is not None:
        assert aliases[ALIAS] in (ledger.live, ledger.open)
    ledger.points = {name: client.count(name).count for name in there}
    ledger.live = aliases.get(ALIAS)


@pytest.mark.slow
def test_a_front_killed_at_any_moment_keeps_what_it_acknowledged(own_server: EdgeServer) -> None:
    ledger = Ledger()
    chance = random.Random(5)
    for round_number in range(ROUNDS):
        killed = Event()
        with closing(own_server.client()) as client:
            arguments = (client, ledger, killed, 1000 * round_number)
            worker = Thread(target=churn, args=arguments)
            worker.start()
            time.sleep(chance.uniform(0.1, 1.2))
            own_server.kill()
            killed.set()
            worker.join(LIMIT)
            assert not worker.is_alive()
            # the kill, and nothing else, may fail a change
            assert ledger.failure in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        own_server.start()
        with closing(own_server.client()) as client:
            audit(client, own_server, ledger)
