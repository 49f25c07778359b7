"""Work for a caller who may leave."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request


async def unless_gone(request: Request, work: Awaitable[Any]) -> Any:
    """What it gives. A caller who leaves ends it, and so leaves the gateway's queue."""
    doing = asyncio.ensure_future(work)
    leaving = asyncio.create_task(_left(request))
    try:
        await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise HTTPException(499, "the caller left")
        return doing.result()
    finally:
        doing.cancel()
        leaving.cancel()
        await asyncio.wait({doing, leaving})


async def _left(request: Request) -> None:
    """Ends when the caller is gone; its body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
