"""What the pages name is there: links and their anchors, commands, options, settings, metrics."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import typer

from bench.apparatus.tools import QDRANT_PROGRAM
from bench.cluster import OUTSIDE_QDRANT
from bench.history.promises import Promise
from realm.cli.main import app
from realm.settings import VARIABLES

ROOT = Path(__file__).parents[2]
BESIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
PAGES = [*(ROOT / name for name in BESIDE), *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SETTING = re.compile(r"\bREALM_[A-Z0-9_]+")
METRIC = re.compile(r"\brealm_(?:trainer|indexer|gateway|embedder|web|build)_[a-z_]+")
FILE = re.compile(
    r"`((?:realm|services|bench|tools|tests|deploy|docs|components|protos)/[\w./-]+)`"
)
MODULE = re.compile(r"-m ((?:services|bench|tools)(?:\.[a-z_]+)*)")
COMMAND = re.compile(r"(?:^|[`(/]|  )realm ((?:[a-z][a-z-]* ?)+)([^`\n|#]*)", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
TARGET = re.compile(r"(?:^|`)make ([a-z-]+)", re.MULTILINE)


def named(pattern: re.Pattern[str]) -> list[tuple[Path, Any]]:
    """Each page with each thing that the pattern finds there; some are found."""
    found = [
        (page, each)
        for page in PAGES
        for each in sorted(set(pattern.findall(page.read_text(encoding="utf-8"))))
    ]
    assert found
    return found


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.M)
    return {re.sub(r"[^\w\- ]", "", each.lower()).strip().replace(" ", "-") for each in headings}


def leads_somewhere(page: Path, target: str) -> bool:
    file, _, anchor = target.partition("#")
    linked = (page.parent / file) if file else page
    return "://" in target or (linked.exists() and (not anchor or anchor in anchors(linked)))


def wrong_words(command: Any, path: str, rest: str) -> list[str]:
    """What of `realm PATH REST` is neither a command nor an option of it."""
    for word in path.split():
        if not hasattr(command, "commands"):
            break
        if word not in command.commands:
            return [word]
        command = command.commands[word]
    known = {name for option in command.params for name in [*option.opts, *option.secondary_opts]}
    return sorted(set(re.findall(r"(?<!\S)--[a-z][a-z-]*", rest)) - known - {"--help"})


def test_links_lead_somewhere() -> None:
    wrong = [(page.name, to) for page, to in named(LINK) if not leads_somewhere(page, to)]
    assert wrong == []


def test_every_page_is_reached_from_another() -> None:
    linked = {(page.parent / to.partition("#")[0]).resolve() for page, to in named(LINK)}
    pages = {page for page in PAGES if page.parent == ROOT / "docs"}
    assert pages - linked == set()


def test_tests_exist() -> None:
    wrong = [
        f"{page.name}: {file}::{name}"
        for page, (file, name) in named(TEST)
        if not (ROOT / file).exists() or f"def {name}(" not in (ROOT / file).read_text()
    ]
    assert wrong == []


def test_each_guarantee_says_what_it_covers_and_what_tries_to_break_it() -> None:
    text = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    parts = re.split(r"^### (\d+)\. ", text, flags=re.MULTILINE)[1:]
    numbers, bodies = [int(each) for each in parts[::2]], parts[1::2]
    assert numbers == list(range(1, len(numbers) + 1))
    wanted = ("- **Holds** ", "- **Not covered:** ", "- **Tried by** ")
    assert all(each in body for body in bodies for each in wanted)
    tried = [body.partition("**Tried by**")[2] for body in bodies]
    assert all(TEST.search(each) or "-m bench " in each for each in tried)
    sentences = dict(zip(numbers, (body.splitlines()[0] for body in bodies), strict=True))
    assert {each: sentences[each] for each in Promise} == {each: each.sentence for each in Promise}


def test_settings_exist() -> None:
    known = VARIABLES
    known |= {"REALM_X", "REALM_SETTINGS_FILE", "REALM_TEST_KUBE_BIN", "REALM_CLUSTER_CACHE"}
    known |= {OUTSIDE_QDRANT, QDRANT_PROGRAM}
    assert [(page.name, name) for page, name in named(SETTING) if name not in known] == []


def test_metrics_exist() -> None:
    known = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert [(page.name, name) for page, name in named(METRIC) if f"`{name}`" not in known] == []


def test_files_and_modules_exist() -> None:
    wrong = [
        (page.name, name)
        for page, name in named(FILE)
        if not any((base / name).exists() for base in (ROOT, ROOT / "deploy" / "k8s"))
    ]
    for page, name in named(MODULE):
        place = ROOT / name.replace(".", "/")
        if not place.with_suffix(".py").exists() and not (place / "__main__.py").exists():
            wrong.append((page.name, name))
    assert wrong == []


def test_targets_of_make_exist() -> None:
    known = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [(page.name, name) for page, name in named(TARGET) if name not in known] == []


def test_commands_and_their_options_exist() -> None:
    realm = typer.main.get_command(app)
    wrong = [
        (page.name, path.strip(), words)
        for page, (path, rest) in named(COMMAND)
        if (words := wrong_words(realm, path, rest))
    ]
    assert wrong == []


def test_extras_that_messages_and_pages_name_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    texts = [*PAGES, *(ROOT / "realm").rglob("*.py")]
    found = {
        name for file in texts for name in re.findall(r"realm\[([a-z]+)\]", file.read_text("utf-8"))
    }
    assert found <= set(extras)
    assert found
