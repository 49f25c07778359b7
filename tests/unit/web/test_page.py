"""The page in a real browser, before a real gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from services.web.server import WebService
from tests.observe.browser import CHROMIUM, needs_chromium
from tests.unit.gateway.site import NOWHERE, PATIENCE
from tests.unit.web.place import Place, serving

REFUSED = "Failed to load resource: the server responded with a status of"
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
PAGE = Path(__file__).parents[3] / "services" / "web" / "page"

Test = Callable[..., Awaitable[None]]


def in_chromium(test: Test) -> Test:
    """Each test starts a browser of its own."""
    return pytest.mark.slow(needs_chromium(test))


@asynccontextmanager
async def opened(service: WebService, path: str = "/", **options: Any) -> AsyncIterator[Any]:
    """A tab at the page. Whatever the browser complains about fails the test."""
    from playwright.async_api import async_playwright

    complaints: list[str] = []
    async with async_playwright() as playwright:
        arguments = ["--no-sandbox", "--no-proxy-server"]
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        tab = await browser.new_page(**{"viewport": DESK, **options})
        tab.set_default_timeout(1000 * PATIENCE)
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on(
            "console",
            lambda said: complaints.append(said.text) if said.type == "error" else None,
        )
        await tab.goto(f"http://127.0.0.1:{service.port}{path}")
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


@in_chromium
async def test_an_answer_is_marked_in_its_passages_by_keyboard_alone(place: Place) -> None:
    async with opened(place.service) as tab:
        await tab.get_by_label("Question").focus()
        await tab.keyboard.type("Who built the tower?")
        await tab.keyboard.press("Enter")
        await tab.wait_for_selector(".answer")
        answer = (await text_of(tab, ".answer")).partition(" p(y|x)")[0].strip()
        marks = await tab.locator("mark").all_inner_texts()
        assert answer
        assert all(answer.lower() in each.lower() for each in marks[:1])
        assert "generation 1, snapshot 1 (step 10)" in await text_of(tab, ".origin")
        await tab.get_by_role("button", name="Passages").click()
        await tab.wait_for_selector("#answers > .passage")
        assert await tab.locator("#answers > .passage").count() == 5


@in_chromium
async def test_the_index_is_seen_to_change(place: Place) -> None:
    async with opened(place.service) as tab:
        await tab.get_by_text("none under way").wait_for()
        assert await text_of(tab, "#state") == "generation 2 answers"
        place.indexer.paused = True
        async with place.indexer.changed:
            place.indexer.changed.notify_all()
        await tab.get_by_text("paused").wait_for()
        await tab.get_by_role("img", name="Index lag in steps").wait_for()
        assert await tab.locator("#generations tbody tr").count() == 2


@in_chromium
async def test_documents_are_written_and_deleted(place: Place) -> None:
    place.indexer.parked = ["it-kills"]
    async with opened(place.service) as tab:
        await tab.get_by_label("Id").fill("notes/kea ?")
        await tab.get_by_label("Text").fill("Kea live in the Alps.")
        await tab.get_by_label("Metadata").fill("lang=en\ntenant = acme")
        await tab.get_by_role("button", name="Write").click()
        await tab.get_by_role("button", name="Delete notes/kea ?").wait_for()
        written = place.indexer.documents["notes/kea ?"]
        assert dict(written.metadata) == {"lang": "en", "tenant": "acme"}
        await tab.get_by_text("it-kills, version 3: it kills embedders").wait_for()
        await tab.get_by_role("button", name="Delete notes/kea ?").click()
        await tab.get_by_text("notes/kea ? is deleted").wait_for()
        assert place.indexer.documents == {}


@in_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
async def test_axe_finds_nothing_and_nothing_is_cut_off(
    place: Place, viewport: Any, scheme: str
) -> None:
    async with opened(place.service, viewport=viewport, color_scheme=scheme) as tab:
        await tab.get_by_label("Question").fill("Who built the tower?")
        await tab.get_by_role("button", name="Answer").click()
        await tab.wait_for_selector("mark")
        await tab.wait_for_selector("#lag svg")
        assert await faults(tab) == []
        wide = await tab.evaluate("document.documentElement.scrollWidth")
        assert wide <= viewport["width"]


@in_chromium
async def test_the_api_s_page_names_every_operation(place: Place) -> None:
    described = (await place.http.get("/openapi.json")).json()
    async with opened(place.service, "/docs", viewport=PHONE) as tab:
        await tab.wait_for_selector("#schemas details")
        shown = await tab.locator("#operations summary code").all_inner_texts()
        offered = [
            f"{method.upper()} {path}"
            for path, methods in described["paths"].items()
            for method in methods
        ]
        assert shown == offered
        assert await faults(tab) == []


@in_chromium
async def test_a_text_of_a_document_is_never_markup(place: Place) -> None:
    async with opened(place.service) as tab:
        await tab.get_by_label("Id").fill("<img src=x onerror=alert(1)>")
        await tab.get_by_label("Text").fill("<script>alert(1)</script>")
        await tab.get_by_role("button", name="Write").click()
        await tab.get_by_role("listitem").get_by_text("<img").wait_for()
        assert await tab.locator("#documents img").count() == 0


async def test_the_page_is_served_with_what_it_needs(place: Place) -> None:
    for file in PAGE.rglob("*.*"):
        answer = await place.http.get(f"/page/{file.relative_to(PAGE)}")
        assert answer.status_code == 200, file
        assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "<title>realm</title>" in (await place.http.get("/")).text


@in_chromium
async def test_the_page_says_what_is_wrong() -> None:
    async with serving(NOWHERE) as (service, _, _), opened(service) as tab:
        await tab.get_by_role("status").get_by_text("cannot be reached").wait_for()
        await tab.get_by_label("Question").fill("Who?")
        await tab.get_by_role("button", name="Answer").click()
        await tab.locator("#answers .error").wait_for()
        assert "127.0.0.1" not in await text_of(tab, "body")
