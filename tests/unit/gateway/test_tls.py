"""Encrypted and known to each other from client to indexer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from bench.apparatus.authority import Authority
from realm.client import AsyncClient, Tls, document
from realm.errors import BadSettings, DependencyUnavailable, RealmError, Unreachable
from realm.settings.access import Access
from tests.unit.access.calls import METHODS, PUBLIC, exchange
from tests.unit.gateway.indexer import running_indexer
from tests.unit.gateway.site import World, running, until

SECONDS = 20.0
SECRET = "of the cluster"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def settings(files: tuple[Path, Path], authority: Authority) -> dict[str, Any]:
    certificate, key = map(str, files)
    return {
        "tls_certificate": certificate,
        "tls_private_key": key,
        "tls_authority": str(authority.file),
        "service_key": SECRET,
    }


async def test_a_write_goes_encrypted_all_the_way_and_outlives_new_certificates(
    world: World, authority: Authority
) -> None:
    own = settings(authority.issue("localhost"), authority)
    indexers = Access(tls_clients=True, **own)
    async with running_indexer(access=indexers) as (indexer, address):
        port = address.rpartition(":")[2]
        url = f"https://localhost:{port}"
        async with running(world, indexer_url=url, report_seconds=0.05, **own) as site:
            tls = Tls(authority.file)
            address = f"https://localhost:{site.gateway.port}"
            async with AsyncClient(address, tls=tls, timeout=SECONDS) as client:
                await client.upsert([document("a", "text")])
            await until(lambda: bool(indexer.reports), "a report")
            channel = site.gateway._leader._channel
            authority.issue("localhost")
            site.gateway._leader.connect("")
            assert site.gateway._leader._channel is not channel
            async with AsyncClient(address, tls=tls, timeout=SECONDS) as client:
                await client.upsert([document("b", "text")])
    assert set(indexer.documents) == {"a", "b"}


async def test_the_leader_is_believed_at_any_address_under_the_indexers_name(
    world: World, authority: Authority
) -> None:
    """It advertises a pod's address, of which its certificate does not know."""
    own = settings(authority.issue("localhost"), authority)
    async with (
        running_indexer(access=Access(**own)) as (indexer, address),
        running(world, indexer_url="https://localhost:1", **own) as site,
    ):
        site.gateway._leader.connect(address)
        await until(lambda: bool(indexer.reports), "a report")


@pytest.mark.parametrize("what", ["service key", "certificate"])
async def test_an_indexer_knows_a_gateway_by_secret_and_certificate(
    world: World, tmp_path: Path, authority: Authority, what: str
) -> None:
    own = settings(authority.issue("localhost"), authority)
    theirs = dict(own)
    if what == "service key":
        theirs["service_key"] = "of another cluster"
    else:
        certificate, key = Authority(tmp_path, "foreign").issue("localhost", "theirs")
        theirs |= {"tls_certificate": str(certificate), "tls_private_key": str(key)}
    indexers = Access(tls_clients=True, **own)
    async with running_indexer(access=indexers) as (indexer, address):
        url = f"https://localhost:{address.rpartition(':')[2]}"
        async with running(world, indexer_url=url, **theirs) as site:
            trusted = tmp_path / ("authority.pem" if what == "service key" else "foreign.pem")
            address = f"https://localhost:{site.gateway.port}"
            async with AsyncClient(address, tls=Tls(trusted), timeout=SECONDS) as client:
                with pytest.raises(DependencyUnavailable):
                    await client.upsert([document("a", "text")])
    assert (indexer.documents, indexer.reports) == ({}, [])


async def test_no_method_opens_to_a_foreign_certificate(
    world: World, tmp_path: Path, authority: Authority
) -> None:
    own = settings(authority.issue("localhost"), authority) | {"tls_clients": True}
    known = Tls(authority.file, *authority.issue("client"))
    foreign = Tls(authority.file, *Authority(tmp_path, "foreign").issue("client", "theirs"))
    async with (
        running_indexer(access=Access(**own)) as (indexer, address),
        running(world, **(own | {"service_key": ""})) as site,
    ):
        servers = {f"localhost:{site.gateway.port}": PUBLIC, address: list(METHODS)}
        for address, methods in servers.items():
            for method in methods:
                assert isinstance(await ended(address, method, foreign), Unreachable), method
                assert not isinstance(await ended(address, method, known), Unreachable), method
    assert (indexer.documents, indexer.reports) == ({}, [])


async def ended(address: str, method: str, tls: Tls) -> RealmError | None:
    """How a call ends that shows no key, over a connection of its own."""
    options = [("grpc.ssl_target_name_override", "localhost")]
    async with grpc.aio.secure_channel(address, tls.credentials(), options=options) as channel:
        return (await exchange(channel, method))[0]


async def test_plaintext_is_not_spoken_to_where_tls_is(world: World, authority: Authority) -> None:
    own = settings(authority.issue("localhost"), authority)
    async with (
        running(world, **(own | {"service_key": ""})) as site,
        AsyncClient(f"localhost:{site.gateway.port}", timeout=SECONDS) as client,
    ):
        with pytest.raises(Unreachable):
            await client.search("where is the tower?")


async def test_probes_in_plaintext_learn_what_those_over_tls_learn(
    world: World, authority: Authority
) -> None:
    own = settings(authority.issue("localhost"), authority) | {"service_key": ""}
    async with running(world, health_listen="127.0.0.1:0", **own) as site:
        port = site.gateway.probed.port
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            probed = replace(site, channel=channel)
            await probed.becomes_serving("live")
            assert not await probed.serving_status("ready")
            world.go_live(seed=1, step=1)
            await probed.becomes_serving("ready")


async def test_the_service_key_does_not_travel_in_plaintext(world: World) -> None:
    with pytest.raises(BadSettings, match="plaintext"):
        async with running(world, indexer_url="indexer.example:50052", service_key=SECRET):
            pass
