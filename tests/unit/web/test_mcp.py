"""The SDK's own client calls the tools, over HTTP and over standard input and output."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from realm.client import document
from tests.unit.gateway.site import NOWHERE, PATIENCE
from tests.unit.web.place import Place, serving

#: The protocol of today, which keeps no session, and that of older clients.
Mode = Literal["auto", "legacy"]
BOTH = pytest.mark.parametrize("mode", ["auto", "legacy"])
TOOLS = ["ask", "get_document", "index_status", "search"]


@asynccontextmanager
async def over_http(port: int, mode: Mode = "auto", key: str = "") -> AsyncIterator[Client]:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with httpx2.AsyncClient(headers=headers, timeout=PATIENCE, trust_env=False) as http:
        transport = streamable_http_client(f"http://127.0.0.1:{port}/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            yield client


@asynccontextmanager
async def over_stdio(gateway: str, mode: Mode = "auto") -> AsyncIterator[Client]:
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "realm.cli.main", "mcp", "--address", gateway],
        env=dict(os.environ),
    )
    async with Client(stdio_client(command), mode=mode) as client:
        yield client


async def check(client: Client, place: Place) -> None:
    tools = (await client.list_tools()).tools
    assert sorted(each.name for each in tools) == TOOLS
    assert all(each.annotations and each.annotations.read_only_hint for each in tools)
    found = await called(client, "search", question="Where is the tower?", limit=2)
    assert len(found["passages"]) == 2
    assert found["index_version"]["generation"] == "1"
    bounded = await called(client, "search", question="tower", where=["number=2"])
    assert [each["passage"]["document_id"] for each in bounded["passages"]] == ["g1-2"]
    answered = await called(client, "ask", question="Who built the tower?")
    assert answered["answers"][0]["sources"][0]["passage"]["document_id"]
    place.indexer.documents["kea"] = document("kea", "Kea live in the Alps.")
    read = await called(client, "get_document", document_id="kea")
    assert read["document"]["text"] == "Kea live in the Alps."
    status = await called(client, "index_status")
    assert status["gateways"] == [{"gateway_id": "one", "generation": "2", "ready": True}]
    missing = await client.call_tool("get_document", {"document_id": "moa"})
    assert missing.is_error
    assert "no document moa" in str(missing.content)
    assert (await client.call_tool("search", {"question": "a", "limit": 0})).is_error
    assert place.indexer.version == 0


async def called(client: Client, tool: str, **arguments: Any) -> Any:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content


@BOTH
async def test_tools_are_called_over_http(place: Place, mode: Mode) -> None:
    async with over_http(place.service.port, mode) as client:
        await check(client, place)
    labels = {"method": "POST", "route": "/mcp", "status": "200"}
    assert (place.value("realm_web_requests_total", **labels) or 0) > 5


@BOTH
async def test_tools_are_called_over_standard_input_and_output(place: Place, mode: Mode) -> None:
    async with over_stdio(f"127.0.0.1:{place.site.gateway.port}", mode) as client:
        await check(client, place)


async def test_a_gateway_that_is_away_is_told_without_its_address() -> None:
    async with serving(NOWHERE) as (service, _, _), over_http(service.port) as client:
        failed = await client.call_tool("search", {"question": "a"})
        assert failed.is_error
        assert "cannot be reached" in str(failed.content)
        assert NOWHERE not in str(failed.content)


async def test_without_a_key_where_one_is_needed_nothing_is_told() -> None:
    async with serving(NOWHERE, require_keys=True) as (_, http, _):
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        accept = {"accept": "application/json, text/event-stream"}
        answer = await http.post("/mcp", json=body, headers=accept)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


async def test_another_site_s_page_reaches_no_tool(place: Place) -> None:
    arguments = {"name": "search", "arguments": {"question": "a"}}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": arguments}
    accept = {"accept": "application/json, text/event-stream", "content-type": "text/plain"}
    answer = await place.http.post("/mcp", content=json.dumps(call), headers=accept)
    assert answer.status_code >= 400
    calls = place.site.world.search.calls
    assert calls == 0
    assert (await place.http.get("/mcp")).status_code == 405
