"""The page in a tab of Chromium."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.observe.browser import CHROMIUM, needs_chromium
from tests.unit.gateway.site import PATIENCE

REFUSED = "Failed to load resource: the server responded with a status of"
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}

Test = Callable[..., Awaitable[None]]


def in_chromium(test: Test) -> Test:
    """Each test starts a browser of its own."""
    return pytest.mark.slow(needs_chromium(test))


@asynccontextmanager
async def opened(
    port: int, path: str = "/", *, patience: float = PATIENCE, **options: Any
) -> AsyncIterator[Any]:
    """A tab at the page. Whatever the browser complains about fails the test."""
    from playwright.async_api import async_playwright

    complaints: list[str] = []
    async with async_playwright() as playwright:
        arguments = ["--no-sandbox", "--no-proxy-server"]
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        tab = await browser.new_page(**{"viewport": DESK, **options})
        tab.set_default_timeout(1000 * patience)
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on(
            "console",
            lambda said: complaints.append(said.text) if said.type == "error" else None,
        )
        await tab.goto(f"http://127.0.0.1:{port}{path}")
        yield tab
        await browser.close()
    # That a request was refused the page itself tells.
    assert [each for each in complaints if not each.startswith(REFUSED)] == []


async def faults(tab: Any) -> list[str]:
    """What axe finds."""
    from axe_playwright_python.async_playwright import Axe

    found = await Axe().run(tab)
    return [f"{each['id']}: {each['nodes'][0]['html']}" for each in found.response["violations"]]


async def text_of(tab: Any, selector: str) -> str:
    return str(await tab.locator(selector).inner_text())
