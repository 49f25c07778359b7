"""Where servers may listen, and certificates that are replaced while they do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio  # type: ignore[attr-defined]

from bench.apparatus.authority import Authority
from realm.client.credentials import Tls
from realm.errors import BadSettings
from realm.process.listening import add_port, check_exposure, is_own
from realm.settings import load_settings
from realm.settings.access import Access

SECONDS = 20.0


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:50051", "127.8.9.1:1", "localhost:50051", "[::1]:50051", "unix:/tmp/realm"],
)
def test_loopback_needs_nothing(address: str) -> None:
    assert is_own(address)
    check_exposure(Access(), address, keys=False)


@pytest.mark.parametrize(
    "address", ["0.0.0.0:50051", "[::]:50051", "192.0.2.1:50051", "realm.example:50051", ":50051"]
)
def test_elsewhere_needs_keys_and_tls_or_that_somebody_says_so(address: str) -> None:
    tls = Access(tls_certificate="a", tls_private_key="b")
    with pytest.raises(BadSettings, match="REALM_REQUIRE_KEYS"):
        check_exposure(tls, address, keys=False)
    with pytest.raises(BadSettings, match="REALM_TLS_CERTIFICATE"):
        check_exposure(Access(), address, keys=True)
    check_exposure(tls, address, keys=True)
    check_exposure(Access(insecure=True), address, keys=False)


@pytest.mark.parametrize(
    "settings",
    [
        {"tls_certificate": "a"},
        {"tls_private_key": "a"},
        {"tls_clients": True},
        {"tls_clients": True, "tls_certificate": "a", "tls_private_key": "b"},
        {"oidc_issuer": "https://issuer.example"},
    ],
)
def test_settings_that_would_protect_by_half_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(BadSettings):
        load_settings(**settings)


async def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    access = Access(tls_certificate=str(tmp_path / "none"), tls_private_key=str(tmp_path / "none"))
    with pytest.raises(BadSettings, match="none"):
        add_port(grpc.aio.server(), access, "127.0.0.1:0")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@asynccontextmanager
async def listening(access: Access) -> AsyncIterator[str]:
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health_aio.HealthServicer(), server)
    port = add_port(server, access, "127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def reached(address: str, tls: Tls, name: str = "gateway") -> bool:
    options = [("grpc.ssl_target_name_override", name)]
    async with grpc.aio.secure_channel(address, tls.credentials(), options=options) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return False
        return True


def access_of(files: tuple[Path, Path], **more: object) -> Access:
    certificate, key = map(str, files)
    given = {"tls_certificate": certificate, "tls_private_key": key, **more}
    return Access.model_validate(given)


async def test_new_connections_get_the_certificate_that_the_files_hold(
    tmp_path: Path, authority: Authority
) -> None:
    other = Authority(tmp_path, "other")
    files = authority.issue("gateway")
    async with listening(access_of(files)) as address:
        assert await reached(address, Tls(authority.file))
        assert not await reached(address, Tls(other.file))
        other.issue("gateway")
        assert await reached(address, Tls(other.file))
        assert not await reached(address, Tls(authority.file))


async def test_a_certificate_half_replaced_leaves_the_one_before(authority: Authority) -> None:
    certificate, key = authority.issue("gateway")
    async with listening(access_of((certificate, key))) as address:
        whole = certificate.read_bytes()
        for spoilt in (b"", whole[:100], b"no certificate"):
            certificate.write_bytes(spoilt)
            assert await reached(address, Tls(authority.file)), spoilt
        key.unlink()
        assert await reached(address, Tls(authority.file))
        authority.issue("gateway")
        assert await reached(address, Tls(authority.file))


async def test_a_certificate_of_another_host_is_not_believed(authority: Authority) -> None:
    async with listening(access_of(authority.issue("gateway"))) as address:
        assert not await reached(address, Tls(authority.file), name="elsewhere")


async def test_who_must_show_a_certificate_shows_one_of_the_authority_s(
    tmp_path: Path, authority: Authority
) -> None:
    foreign = Authority(tmp_path, "foreign")
    access = access_of(
        authority.issue("gateway"), tls_clients=True, tls_authority=str(authority.file)
    )
    async with listening(access) as address:
        assert await reached(address, Tls(authority.file, *authority.issue("client")))
        assert not await reached(address, Tls(authority.file, *foreign.issue("client", "theirs")))
        assert not await reached(address, Tls(authority.file))
