"""Who may call: keys, scopes, names, addresses, certificates."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from bench.apparatus.authority import Authority
from realm.errors import BadSettings
from realm.filters import where
from realm.records.keys import ApiKeys, Scope
from realm.records.store import Store
from realm.settings import load_settings
from services.web.events import PATH as EVENTS
from services.web.server import WebService
from tests.unit.gateway.indexer import running_indexer
from tests.unit.gateway.site import NOWHERE, MemorySearch, World, running
from tests.unit.web.place import Place, serving

QUESTION = {"question": "Where is the Eiffel Tower?", "limit": 5}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(Store.open(str(tmp_path / "store")), MemorySearch(), tmp_path)


@pytest.fixture
async def guarded(world: World) -> AsyncIterator[tuple[ApiKeys, httpx2.AsyncClient]]:
    """A web service whose gateway asks for keys; those made before the first call count."""
    first = world.go_live(seed=1, step=10)
    async with (
        running_indexer() as (_, address),
        running(world, indexer_url=address, require_keys=True, keys_poll_seconds=0.01) as site,
        serving(f"127.0.0.1:{site.gateway.port}", require_keys=True) as (_, http, _),
    ):
        await site.serves(first)
        yield ApiKeys(world.store), http


async def status(
    http: httpx2.AsyncClient, key: str, method: str, path: str, **given: object
) -> int:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with http.stream(method, path, headers=headers, **given) as answer:  # type: ignore[arg-type]
        return answer.status_code


async def test_nobody_calls_without_a_key(guarded: tuple[ApiKeys, httpx2.AsyncClient]) -> None:
    _, http = guarded
    for method, path, body in (
        ("POST", "/v1/search", QUESTION),
        ("POST", "/v1/ask", {"question": "where?"}),
        ("GET", "/v1/documents", None),
        ("PUT", "/v1/documents/a", {"text": "text"}),
        ("DELETE", "/v1/documents/a", None),
        ("GET", "/v1/index", None),
        ("GET", EVENTS, None),
    ):
        for headers in ({}, {"authorization": "Bearer none"}, {"authorization": "Basic x"}):
            answer = await http.request(method, path, json=body, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, 16), path
            assert answer.headers["www-authenticate"] == "Bearer"
    odd = await http.get("/v1/index", headers={b"authorization": "Bearer sé".encode("latin-1")})
    assert odd.status_code == 401


async def test_a_key_opens_what_its_scope_is_for(
    guarded: tuple[ApiKeys, httpx2.AsyncClient],
) -> None:
    keys, http = guarded
    key, _ = keys.create("asker", [Scope.ASK])
    await until_opens(http, key)
    assert await status(http, key, "PUT", "/v1/documents/a", json={"text": "text"}) == 403
    assert await status(http, key, "GET", "/v1/index") == 403
    assert await status(http, key, "GET", EVENTS) == 403
    operator, _ = keys.create("operator", [Scope.OPERATE])
    while await status(http, operator, "GET", EVENTS) == 401:
        pass
    assert await status(http, operator, "GET", EVENTS) == 200
    assert await status(http, operator, "POST", "/v1/search", json=QUESTION) == 403


async def test_a_tenant_s_key_finds_its_own_documents_alone(
    guarded: tuple[ApiKeys, httpx2.AsyncClient],
) -> None:
    keys, http = guarded
    key, _ = keys.create("acme", [Scope.ASK], filter=where("tenant=acme"))
    await until_opens(http, key)
    answer = await http.post(
        "/v1/search", json=QUESTION, headers={"authorization": f"Bearer {key}"}
    )
    tenants = {each["passage"]["metadata"]["tenant"] for each in answer.json()["passages"]}
    assert tenants == {"acme"}


async def until_opens(http: httpx2.AsyncClient, key: str) -> None:
    """The gateway looks for keys now and then."""
    while await status(http, key, "POST", "/v1/search", json=QUESTION) == 401:
        pass


async def test_without_keys_it_answers_under_this_machine_s_names_alone(place: Place) -> None:
    others = ("evil.example", "evil.example:8051", "127.0.0.1.evil.example", "unix:8051", "")
    for host in others:
        answer = await place.http.get("/v1/index", headers={"host": host})
        assert answer.status_code == 403, host
    for host in ("localhost", "localhost:1", "127.0.0.1:8051", "[::1]:8051"):
        answer = await place.http.get("/v1/index", headers={"host": host})
        assert answer.status_code == 200, host


async def test_other_names_are_a_setting() -> None:
    async with serving(NOWHERE, web_hosts="desk.example, other.example") as (_, http, _):
        for host in ("desk.example:8051", "other.example"):
            assert (await http.get("/livez", headers={"host": host})).status_code == 200


async def test_another_site_s_page_cannot_write(place: Place) -> None:
    """What a browser sends to other sites without asking has none of these."""
    answer = await place.http.post("/v1/documents", content='{"documents": [{"id": "a"}]}')
    assert answer.status_code == 415
    asked = await place.http.options(
        "/v1/documents/a",
        headers={"origin": "https://evil.example", "access-control-request-method": "PUT"},
    )
    assert asked.status_code == 405
    assert not [name for name in asked.headers if name.startswith("access-control")]


def test_elsewhere_needs_keys_and_tls_or_that_somebody_says_so() -> None:
    for given in ({}, {"require_keys": True}):
        with pytest.raises(BadSettings, match="REALM_INSECURE"):
            WebService(load_settings(web_listen="0.0.0.0:0", **given))


def test_an_address_that_cannot_be_listened_on_is_told() -> None:
    for address in ("127.0.0.1:x", "127.0.0.1:99999"):
        with pytest.raises(BadSettings, match="REALM_WEB_LISTEN"):
            WebService(load_settings(web_listen=address))


async def test_https_shows_each_connection_the_newest_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, private = authority.issue("localhost")
    given = {"tls_certificate": str(certificate), "tls_private_key": str(private)}

    async def shown(port: int) -> bytes | None:
        trusting = ssl.create_default_context(cafile=str(authority.file))
        _, writer = await asyncio.open_connection("localhost", port, ssl=trusting)
        found: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        await writer.wait_closed()
        return found

    async with serving(NOWHERE, **given) as (service, _, _):
        first = await shown(service.port)
        assert await shown(service.port) == first
        private.write_bytes(b"just being replaced")
        assert await shown(service.port) == first
        authority.issue("localhost")
        assert await shown(service.port) != first
