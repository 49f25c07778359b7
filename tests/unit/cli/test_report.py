"""`realm report`: a page from a run's JSON or from its store."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from realm.cli.main import app
from realm.errors import InvalidInput, NotFound
from realm.records.generations import Generations
from realm.records.states import State
from realm.records.store import Store
from tests.unit.indexer.examples import create, publish
from tests.unit.reporting.run import a_run


def report(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["report", *arguments])
    if done.exception:
        raise done.exception
    return done.output


def test_a_page_is_made_from_a_runs_report(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text(json.dumps(a_run()))
    html = tmp_path / "pages" / "run.html"
    assert "opens in any browser" in report("--json", str(file), "--html", str(html))
    assert "Refresh latency by phase" in html.read_text()


def test_a_page_is_made_from_what_a_store_remembers(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "run" / "store"))
    publish(store, tmp_path / "model", 1)
    create(store, 1, State.BUILDING, snapshot=1)
    generations = Generations(store)
    generations.commit(1, after=None, by="test", why="refresh")
    generations.record(1, State.LIVE, "refresh", {"phase_embed": 2.0, "phase_total": 2.0})
    html = tmp_path / "run.html"
    report("--store", str(tmp_path / "run"), "--html", str(html))
    assert "Index lag over time" in html.read_text()


@pytest.mark.parametrize("text", ["", "[]", '{"claims": []}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "other.json"
    file.write_text(text)
    with pytest.raises(InvalidInput):
        report("--json", str(file), "--html", str(tmp_path / "page.html"))


def test_it_wants_one_source(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="one of"):
        report("--html", str(tmp_path / "page.html"))
    with pytest.raises(NotFound):
        report("--store", str(tmp_path), "--html", str(tmp_path / "page.html"))
