"""Takes the pictures of docs/web.md of a cluster that runs: `python -m tools.screenshots` beside
`make run`, once a generation is retained beside the live one. Needs Chromium."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from playwright.sync_api import ViewportSize, sync_playwright

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
QUESTION = "Which function opens a URL in the browser?"
DESK: ViewportSize = {"width": 1100, "height": 760}
PHONE: ViewportSize = {"width": 390, "height": 760}
SECONDS = 60


def ask(page: Any, beside: bool) -> None:
    """:param beside: of the retained generation too."""
    if beside:
        page.wait_for_selector("#beside-row:not([hidden])")
        page.select_option("#beside", index=1)
    page.fill("#question", QUESTION)
    page.click("button[value=ask]")
    page.wait_for_selector("#answers[aria-busy=false] .origin")
    page.wait_for_selector("#facts dd")


def take(address: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {"page": (DESK, False), "page-phone": (PHONE, False), "page-compared": (DESK, True)}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--no-proxy-server"]
        )
        for name, (viewport, beside) in pictures.items():
            page = browser.new_page(viewport=viewport)
            page.set_default_timeout(1000 * SECONDS)
            page.goto(address)
            ask(page, beside)
            page.screenshot(path=folder / f"{name}.png")
            page.close()
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="http://127.0.0.1:8051", help="of the page")
    parser.add_argument("--folder", type=Path, default=PICTURES)
    given = parser.parse_args()
    take(given.address, given.folder)


if __name__ == "__main__":
    main()
