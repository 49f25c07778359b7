"""The page in a real browser, before a real gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.gateway.site import NOWHERE
from tests.unit.web.place import Place, serving
from tests.unit.web.tab import DESK, PHONE, faults, in_chromium, opened, text_of

PAGE = Path(__file__).parents[3] / "services" / "web" / "page"


@in_chromium
async def test_an_answer_is_marked_in_its_passages_by_keyboard_alone(place: Place) -> None:
    async with opened(place.service.port) as tab:
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
    async with opened(place.service.port) as tab:
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
    async with opened(place.service.port) as tab:
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
    async with opened(place.service.port, viewport=viewport, color_scheme=scheme) as tab:
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
    async with opened(place.service.port, "/docs", viewport=PHONE) as tab:
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
    async with opened(place.service.port) as tab:
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
    async with serving(NOWHERE) as (service, _, _), opened(service.port) as tab:
        await tab.get_by_role("status").get_by_text("cannot be reached").wait_for()
        await tab.get_by_label("Question").fill("Who?")
        await tab.get_by_role("button", name="Answer").click()
        await tab.locator("#answers .error").wait_for()
        assert "127.0.0.1" not in await text_of(tab, "body")
