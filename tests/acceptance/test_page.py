"""The page over a whole cluster, in a real browser: what a newcomer sees."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from realm.v1.index_pb2 import GENERATION_STATE_RETAINED as RETAINED
from services.standalone.cluster import PORTS
from tests.acceptance.running import RunningCluster
from tests.unit.web.tab import DESK, PHONE, faults, in_chromium, opened, text_of
from tests.waiting import until

#: A refresh may take so long on a machine that does other things too.
PATIENCE = 120.0


async def ask(tab: Any, question: str) -> None:
    await tab.get_by_label("Question").fill(question)
    await tab.get_by_role("button", name="Answer").click()
    await tab.wait_for_selector("#answers[aria-busy=false] .origin")


async def generation_shown(tab: Any) -> int:
    found = re.search(r"generation (\d+)", await text_of(tab, "#state"))
    return int(found[1]) if found else 0


@in_chromium
async def test_a_newcomer_asks_sees_a_refresh_and_compares_two_generations(tmp_path: Path) -> None:
    with RunningCluster(tmp_path / "run") as cluster:
        port = PORTS["web"] + cluster.offset
        async with opened(port, patience=PATIENCE) as tab:
            await tab.locator("#state", has_text="answers").wait_for()
            await ask(tab, "Who wrote Redis?")
            assert await tab.locator("mark").count() > 0

            before = await generation_shown(tab)
            await tab.evaluate("window.opened = 'once'")
            await tab.get_by_role("progressbar", name="Shards embedded").wait_for()
            await tab.wait_for_function(
                "old => Number(document.querySelector('#state').textContent.match(/\\d+/)) > old",
                arg=before,
            )
            assert await tab.evaluate("window.opened") == "once"

            cluster.client.pause(True, reason="two generations are looked at")
            until(lambda: not cluster.client.status().HasField("refresh"), "a rest", PATIENCE)
            live = cluster.client.status().live.generation
            listed = cluster.client.generations()
            (wanted,) = [each.generation for each in listed if each.state == RETAINED]
            await tab.get_by_text(f"generation {live} answers").wait_for()
            beside = tab.get_by_label("Compare what is live with")
            await beside.select_option(str(wanted))
            await ask(tab, "Who wrote Redis?")
            for number in (live, wanted):
                side = tab.get_by_role("region", name=f"generation {number}", exact=True)
                assert f"generation {number}" in await side.locator(".origin").inner_text()
                assert "passages are generation" in await side.inner_text()
            assert await faults(tab) == []
            for viewport in (PHONE, DESK):
                await tab.set_viewport_size(viewport)
                wide = await tab.evaluate("document.documentElement.scrollWidth")
                assert wide <= viewport["width"]
                assert await faults(tab) == []
