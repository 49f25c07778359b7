"""What only the server for one machine must bear: kills, crowds, refusals, a port in use."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from qdrant_client import QdrantClient, models

from tests.congruence.conftest import create, search
from tests.congruence.edge_server import LIMIT, EdgeServer
from tests.congruence.oracle import DENSE, SIZE, Passage, agree, exact, make_passages
from tests.waiting import until

NAME = "passages-00000001"


def load(client: QdrantClient, name: str, passages: list[Passage]) -> None:
    create(client, name)
    for start in range(0, len(passages), 64):
        client.upsert(name, [passage.point() for passage in passages[start : start + 64]])


def searched(client: QdrantClient, name: str, passages: list[Passage]) -> None:
    query = passages[2].dense
    agree(search(client, name, query), exact(passages, query, 10))


def test_every_acknowledged_point_outlives_a_killed_front(
    own_server: EdgeServer, passages: list[Passage]
) -> None:
    with closing(own_server.client()) as client:
        load(client, NAME, passages)
        client.update_collection_aliases(
            [
                models.CreateAliasOperation(
                    create_alias=models.CreateAlias(collection_name=NAME, alias_name="live")
                )
            ]
        )
        client.delete(NAME, models.PointIdsList(points=[passages[-1].id]))
    own_server.kill()
    own_server.start()
    with closing(own_server.client()) as client:
        assert client.count("live").count == len(passages) - 1
        searched(client, "live", passages[:-1])


def test_every_acknowledged_point_outlives_a_killed_child(
    own_server: EdgeServer, passages: list[Passage]
) -> None:
    with closing(own_server.client()) as client:
        load(client, NAME, passages)
        (child,) = own_server.children()
        child.kill()
        child.wait(LIMIT)
        until(lambda: own_server.events("collection_process_died"), "the death being noticed")
        assert client.count(NAME).count == len(passages)  # waits for the new child
        searched(client, NAME, passages)
        (another,) = own_server.children()
        assert another.pid != child.pid


def test_points_and_aliases_outlive_a_polite_end(
    own_server: EdgeServer, passages: list[Passage]
) -> None:
    with closing(own_server.client()) as client:
        load(client, NAME, passages)
    children = own_server.children()
    assert own_server.stop() == 0
    assert not any(child.is_running() for child in children)
    own_server.start()
    with closing(own_server.client()) as client:
        searched(client, NAME, passages)


def test_a_half_created_collection_is_removed_at_the_start(own_server: EdgeServer) -> None:
    with closing(own_server.client()) as client:
        create(client, NAME)
    own_server.kill()
    folder = own_server.folder / "collections"
    half = folder / "passages-00000002" / "segments"
    half.mkdir(parents=True)
    own_server.start()
    assert [path.name for path in folder.iterdir()] == [NAME]
    with closing(own_server.client()) as client:
        assert [found.name for found in client.get_collections().collections] == [NAME]
        create(client, "passages-00000002")
        assert client.count("passages-00000002").count == 0


def test_one_collection_is_served_while_another_is_frozen(
    own_server: EdgeServer, passages: list[Passage]
) -> None:
    with closing(own_server.client()) as client:
        load(client, NAME, passages)
        (frozen,) = own_server.children()
        frozen.send_signal(signal.SIGSTOP)
        load(client, "passages-00000002", passages)
        searched(client, "passages-00000002", passages)
        frozen.send_signal(signal.SIGCONT)
        searched(client, NAME, passages)


def test_searches_stay_exact_among_concurrent_writes(
    edge_server: EdgeServer, passages: list[Passage]
) -> None:
    name = "passages-concurrent"
    others = make_passages(512, seed=9)
    far = np.zeros(SIZE, dtype=np.float32)
    with closing(edge_server.client()) as client:
        load(client, name, passages)

        def write(start: int) -> None:
            # zero vectors score 0 and never enter the best ten
            batch = [
                models.PointStruct(id=p.id, vector={DENSE: far.tolist()}, payload={"start": start})
                for p in others[start : start + 32]
            ]
            client.upsert(name, batch)

        def search_one(number: int) -> None:
            query = passages[number].dense
            agree(search(client, name, query), exact(passages, query, 10))

        with ThreadPoolExecutor(8) as pool:
            writes = [pool.submit(write, start) for start in range(0, 512, 32)]
            searches = [pool.submit(search_one, number) for number in range(100)]
            for done in (*writes, *searches):
                done.result(LIMIT)
        assert client.count(name).count == len(passages) + 512
        client.delete_collection(name)


WORDS = models.FieldCondition(key="text", match=models.MatchText(text="word"))

UNCOVERED: dict[str, Callable[[QdrantClient, str], object]] = {
    "qdrant.Points/Facet": lambda client, name: client.facet(name, "document_id"),
    "qdrant.Points/SetPayload": lambda client, name: client.set_payload(name, {}, points=[1]),
    "qdrant.Snapshots/Create": lambda client, name: client.create_snapshot(name),
    "metadata of UpdateCollection": lambda client, name: client.update_collection(
        name, metadata={"a": 1}
    ),
    "recommend of Query": lambda client, name: search(
        client, name, models.RecommendQuery(recommend=models.RecommendInput(positive=[1]))
    ),
    "order_by of Query": lambda client, name: search(
        client, name, models.OrderByQuery(order_by="ordinal")
    ),
    "text of Match": lambda client, name: client.count(name, models.Filter(must=[WORDS])),
    "update_mode of UpsertPoints": lambda client, name: client.upsert(
        name, [], update_mode=models.UpdateMode.INSERT_ONLY
    ),
    "operations on aliases": lambda client, name: client.update_collection_aliases(
        [models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name="live"))]
    ),
    "index of this type": lambda client, name: client.create_payload_index(
        name, "text", models.PayloadSchemaType.TEXT
    ),
    "vector without a name": lambda client, name: client.upsert(
        name, [models.PointStruct(id=1, vector=[1.0])]
    ),
}


@pytest.mark.parametrize("what", UNCOVERED)
def test_what_is_not_covered_is_refused_by_name(edge_server: EdgeServer, what: str) -> None:
    with closing(edge_server.client()) as client:
        name = f"passages-{uuid4().hex}"
        create(client, name)
        with pytest.raises(grpc.RpcError) as caught:
            UNCOVERED[what](client, name)
        client.delete_collection(name)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert what in str(caught.value.details())


@pytest.mark.parametrize("name", ["../outside", "a/b", "..", "a\0b"])
def test_a_name_cannot_lead_out_of_the_folder(edge_server: EdgeServer, name: str) -> None:
    with closing(edge_server.client()) as client:
        with pytest.raises(grpc.RpcError) as caught:
            create(client, name)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_configuration_that_cannot_be_served_leaves_nothing(edge_server: EdgeServer) -> None:
    name = "passages-quantized"
    with closing(edge_server.client()) as client:
        with pytest.raises(grpc.RpcError) as caught:
            client.create_collection(
                name,
                vectors_config={DENSE: models.VectorParams(size=4, distance=models.Distance.DOT)},
                quantization_config=models.ScalarQuantization(
                    scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8)
                ),
            )
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert not client.collection_exists(name)
    assert not (edge_server.folder / "collections" / name).exists()


def test_health_and_version_are_told(edge_server: EdgeServer) -> None:
    with closing(edge_server.client()) as client:
        assert int(client.info().version.split(".")[0]) >= 1
    with grpc.insecure_channel(f"127.0.0.1:{edge_server.port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "qdrant.Points"):
            reply = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=LIMIT)
            assert reply.status == health_pb2.HealthCheckResponse.SERVING


def test_a_port_in_use_is_said_plainly(edge_server: EdgeServer, tmp_path: Path) -> None:
    # by a server of the same kind: gRPC would let the two share the port if it were left to it
    command = EdgeServer(tmp_path / "qdrant").command(edge_server.port)
    ended = subprocess.run(command, capture_output=True, timeout=LIMIT, check=False)
    assert ended.returncode == 1
    said = f"cannot listen on 127.0.0.1:{edge_server.port}: it is in use"
    assert said in ended.stderr.decode()
    assert "Traceback" not in ended.stderr.decode()


def test_a_folder_is_served_by_one_process(edge_server: EdgeServer) -> None:
    command = EdgeServer(edge_server.folder).command(0)
    ended = subprocess.run(command, capture_output=True, timeout=LIMIT, check=False)
    assert ended.returncode == 1
    assert "is served by another process" in ended.stderr.decode()
