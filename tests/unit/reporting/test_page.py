"""The page holds all it needs and lets no text of the run become markup."""

import json
import re

from realm.reporting.page import page, summary
from tests.unit.reporting.run import a_run


def test_nothing_is_asked_for_over_a_network() -> None:
    text = page(a_run(), "A run")
    ours = text.partition("<script>/**")[0] + text.rpartition('"use strict"')[2]
    assert not re.search(r'(src|href)="(?!data:)', ours)
    assert not re.search(r"url\(|@import|https?://", ours)


def test_texts_of_the_run_stay_texts() -> None:
    text = page(a_run(), "<b>A run</b>")
    assert "<b>A run" not in text
    assert "fell by 0.31 </script>" not in text
    figures = re.search(r"^const figures = (.*);$", text, re.MULTILINE)
    assert figures
    assert set(json.loads(figures[1])) >= {"lag", "refreshes"}


def test_the_figures_that_matter_come_first() -> None:
    assert dict(summary(a_run()))["failed"] == "0"
    assert dict(summary(a_run()))["longest lag"] == "58 s"
    assert summary({}) == [("generations live", "0")]
