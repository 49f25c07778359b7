"""The settings table: complete, true to its origins, and silent about secrets."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from realm.cli.settings import MASK, masked
from realm.settings import VARIABLES
from tests.unit.cli.conftest import run


@pytest.fixture(autouse=True)
def clean(monkeypatch: Any) -> None:
    for name in [name for name in os.environ if name.startswith("REALM_")]:
        monkeypatch.delenv(name)


def listed(capsys: Any) -> dict[str, dict[str, Any]]:
    assert run(["settings", "--json"]) == 0
    return {row["variable"]: row for row in json.loads(capsys.readouterr().out)}


def test_every_setting_is_listed_with_a_meaning(capsys: Any) -> None:
    found = listed(capsys)
    assert set(found) == VARIABLES
    assert all(row["meaning"] for row in found.values())
    assert {row["from"] for row in found.values()} == {"default"}
    assert found["REALM_THREADS"]["value"] == found["REALM_THREADS"]["default"] == 1


def test_origin_is_told(capsys: Any, monkeypatch: Any, tmp_path: Path) -> None:
    file = tmp_path / "realm.toml"
    file.write_text("threads = 3\nseed = 4\n")
    monkeypatch.setenv("REALM_SETTINGS_FILE", str(file))
    monkeypatch.setenv("REALM_SEED", "5")
    found = listed(capsys)
    assert (found["REALM_THREADS"]["value"], found["REALM_THREADS"]["from"]) == (3, "file")
    assert (found["REALM_SEED"]["value"], found["REALM_SEED"]["from"]) == (5, "environment")


def test_names_are_whole_in_a_narrow_pipe(capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("REALM_SEED", "5")
    assert run(["settings"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert set(lines) > VARIABLES
    assert "environment, not 0" in lines["REALM_SEED"]


def test_secrets_do_not_show(capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("REALM_QDRANT_API_KEY", "hunter2")
    monkeypatch.setenv("REALM_REDIS_URL", "redis://user:hunter2@redis:6379/0")
    assert run(["settings"]) == 0
    assert "hunter2" not in capsys.readouterr().out
    found = listed(capsys)
    assert found["REALM_QDRANT_API_KEY"]["value"] == MASK
    assert found["REALM_REDIS_URL"]["value"] == f"redis://{MASK}@redis:6379/0"


def test_only_secrets_are_masked() -> None:
    assert masked("embed_token_budget", 8192) == 8192
    assert masked("query_tokens", 96) == 96
    assert masked("store_url", "s3://bucket/a@b") == "s3://bucket/a@b"


def test_unusable_settings_are_one_sentence(capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("REALM_TREADS", "1")
    assert run(["settings"]) == 1
    assert "REALM_TREADS" in capsys.readouterr().err
