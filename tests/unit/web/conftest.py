from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.unit.gateway.site import PATIENCE
from tests.unit.web.place import Place, standing

if TYPE_CHECKING:
    import openai


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with standing(tmp_path) as found:
        yield found


@pytest.fixture
async def client(place: Place) -> AsyncIterator[openai.AsyncOpenAI]:
    """The official client of OpenAI's API."""
    import openai

    address = f"http://127.0.0.1:{place.service.port}/v1"
    async with openai.AsyncOpenAI(
        api_key="none", base_url=address, max_retries=0, timeout=PATIENCE
    ) as found:
        yield found
