"""The page of a run, looked at in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from realm.reporting.page import page
from tests.observe.browser import Page, browser, needs_chromium
from tests.unit.reporting.run import a_run

PHONE, DESK = 390, 1280
CHARTS = {"lag", "refreshes", "outcomes", "recall", "questions", "latency"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "report.html"
    made.write_text(page(a_run(), "A run"), encoding="utf-8")
    return made


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_is_drawn(file: Path, tmp_path: Path, width: int, dark: bool) -> None:
    with browser(tmp_path / "profile") as tab:
        tab.open(file.as_uri(), width=width, height=844, dark=dark)
        tab.until("document.documentElement.dataset.drawn !== undefined")
        check(tab, width, dark)
        # The reader's system goes over to the other mode at dusk.
        tab.scheme(not dark)
        tab.until(f"document.documentElement.dataset.drawn === '{'light' if dark else 'dark'}'")
        check(tab, width, not dark)
        assert not tab.complaints


def check(tab: Page, width: int, dark: bool) -> None:
    drawn = tab.value(
        "Object.fromEntries([...document.querySelectorAll('.chart')].map(each =>"
        " [each.id, each.querySelectorAll('.trace, .scatterlayer .points path').length]))"
    )
    assert set(drawn) == CHARTS
    assert all(drawn.values()), drawn
    assert tab.value("document.documentElement.scrollWidth") <= width
    wide = tab.value(
        "[...document.querySelectorAll('.chart svg')].filter(each =>"
        f" each.getBoundingClientRect().right > {width}).length"
    )
    assert not wide
    ground = brightness(tab, "document.body", "backgroundColor")
    assert ground < 60 if dark else ground > 200
    for what in ("document.body", "document.querySelector('p')"):
        assert abs(brightness(tab, what, "color") - ground) > 90, what
    text = brightness(tab, "document.querySelector('.xtick text')", "fill")
    assert abs(text - ground) > 90
    smallest = tab.value(
        "Math.min(...[...document.querySelectorAll('.chart text')].map(each =>"
        " parseFloat(getComputedStyle(each).fontSize)))"
    )
    assert smallest >= 11


def brightness(tab: Page, element: str, of: str) -> float:
    """0 for black, 255 for white."""
    colour = tab.value(f"getComputedStyle({element}).{of}")
    channels = [float(each) for each in colour.partition("(")[2].rstrip(")").split(",")[:3]]
    return sum(channels) / 3
