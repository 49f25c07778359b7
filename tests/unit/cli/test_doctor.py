"""`realm doctor` where nothing is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from realm.records.snapshots import Snapshots
from realm.records.store import Store
from tests.tiny import write_base
from tests.unit.cli.conftest import run
from tests.unit.cli.test_store import NOBODY


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A new store, and nobody else."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("REALM_STORE_URL", str(tmp_path / "store"))
    monkeypatch.setenv("REALM_REDIS_URL", f"redis://{NOBODY}/0")
    monkeypatch.setenv("REALM_QDRANT_URL", f"http://{NOBODY},http://{NOBODY}")
    monkeypatch.setenv("REALM_GATEWAY_ADDRESS", NOBODY)
    return Store.open(str(tmp_path / "store"))


def found(capsys: pytest.CaptureFixture[str]) -> dict[str, list[dict[str, Any]]]:
    by_thing: dict[str, list[dict[str, Any]]] = {}
    for each in json.loads(capsys.readouterr().out):
        by_thing.setdefault(each["about"], []).append(each)
    return by_thing


def test_everything_that_is_away_is_named_with_what_to_do(
    alone: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", "--json"]) == 1
    seen = found(capsys)
    for about in ("Redis", "Qdrant", "gateway"):
        assert all(each["verdict"] == "wrong" and each["cure"] for each in seen[about])
    assert len(seen["Qdrant"]) == 2, "each peer by itself"
    assert [each["verdict"] for each in seen["index"]] == ["doubtful"]
    assert "import" in seen["documents"][0]["cure"]
    assert "realm snapshots publish" in seen["models"][0]["cure"]


def test_words_say_what_json_says(alone: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "wrong    Redis: it does not answer" in said
    assert "→ " in said


def test_a_setting_that_nobody_knows_is_all_that_is_said(
    alone: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REALM_QDRANT_URI", "http://qdrant:6334")
    assert run(["doctor", "--json"]) == 1
    (only,) = found(capsys)["settings"]
    assert "REALM_QDRANT_URI" in only["words"]


def test_a_damaged_snapshot_and_a_model_that_is_not_there_are_named(
    alone: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run(["snapshots", "publish", str(write_base(tmp_path / "base"))])
    (snapshot,) = Snapshots(alone).all()
    assert alone.root is not None
    file = alone.root / snapshot.folder / "reader.safetensors"
    file.write_bytes(b"spoilt" + file.read_bytes()[6:])
    monkeypatch.setenv("REALM_CROSS_ENCODER", str(tmp_path / "nowhere"))
    capsys.readouterr()
    run(["doctor", "--json"])
    words = " ".join(each["words"] for each in found(capsys)["models"])
    assert "nowhere" in words
    assert "reader.safetensors" in words


def test_a_store_that_is_not_there_hides_nothing_else(
    alone: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", "--json", "--store", str(tmp_path / "elsewhere")]) == 1
    seen = found(capsys)
    assert seen["store"][0]["verdict"] == "wrong"
    assert seen["Redis"]
