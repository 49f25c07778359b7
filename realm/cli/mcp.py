"""`realm mcp`: the tools of language models over standard input and output."""

from __future__ import annotations

import asyncio

import typer

from realm.cli.options import DEFAULT_TIMEOUT, Address, Timeout, check_packages, gateway_options
from realm.client import AsyncClient


def register(app: typer.Typer) -> None:
    app.command("mcp")(mcp)


def mcp(address: Address = "", timeout: Timeout = DEFAULT_TIMEOUT) -> None:
    """Offer search, answers, documents and the index's state to language models (MCP), over
    standard input and output; the gateway is asked with REALM_API_KEY."""
    check_packages("realm mcp", {"mcp": "mcp"})
    asyncio.run(_serve(address, timeout))


async def _serve(address: str, timeout: float) -> None:
    from realm.mcp.server import make_server

    async with AsyncClient(**gateway_options(address), timeout=timeout) as client:
        await make_server(client).run_stdio_async()
