"""The site that `make site` builds: every page as HTML and as Markdown, nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from realm.settings import VARIABLES
from tests.deploy.rendering import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Strict: a link that leads nowhere would end it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_there_twice_and_llms_txt_names_it(site: Path) -> None:
    named = re.findall(r"\]\(([^)]+)\)", (site / "llms.txt").read_text())
    pages = [each.relative_to(ROOT / "docs").as_posix() for each in (ROOT / "docs").rglob("*.md")]
    assert set(pages) | {"index.md"} <= set(named)
    assert named[0] == "index.md"
    for page in named:
        assert (site / page).read_text().strip()
        assert (site / page).with_suffix(".html").is_file()


def test_the_reference_is_that_of_the_code(site: Path) -> None:
    settings = (site / "reference" / "settings.md").read_text()
    assert {each for each in VARIABLES if f"`{each}`" not in settings} == set()
    commands = (site / "reference" / "commands.md").read_text()
    assert "## realm corpus import" in commands
    assert "--follow" in commands
    api = (site / "reference" / "api.md").read_text()
    assert "### RetrievePassagesRequest" in api
    assert "| `generation` | `uint64` |" in api
    assert "| starlette | " in (site / "reference" / "licences.md").read_text()


def test_a_reader_s_browser_asks_nobody_else(site: Path) -> None:
    for page in site.rglob("*.html"):
        asked = re.findall(
            r'<(?:script|link|img)[^>]*(?:src|href)="(https?:[^"]+)"', page.read_text()
        )
        assert asked == [], page
