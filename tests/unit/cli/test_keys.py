"""`realm keys`: made, listed and revoked; and commands that show one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from realm.records.keys import ApiKeys
from realm.records.store import Store
from tests.unit.cli.conftest import run


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("REALM_STORE_URL", str(tmp_path / "store"))
    return Store.open(str(tmp_path / "store"))


def test_a_key_is_shown_once_and_known_by_its_hash(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["keys", "create", "a team", "--scope", "ask", "--scope", "write"]) == 0
    key = capsys.readouterr().out.strip()
    [record] = ApiKeys(store).all()
    assert record.opens_with(key)
    assert run(["keys", "list"]) == 0
    listed = capsys.readouterr().out
    assert record.id in listed
    assert "ask write" in listed
    assert "valid" in listed
    assert run(["keys", "list", "--json"]) == 0
    assert key[23:] not in listed + capsys.readouterr().out


def test_a_revoked_and_an_expired_key_are_told_apart(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["keys", "create", "one", "--scope", "operate", "--json"])
    made = json.loads(capsys.readouterr().out)
    run(["keys", "create", "two", "--scope", "ask", "--days", "1e-9"])
    assert run(["keys", "revoke", made["id"], "--reason", "lost"]) == 0
    capsys.readouterr()
    run(["keys", "list", "--json"])
    found = {each["name"]: each["state"] for each in json.loads(capsys.readouterr().out)}
    assert found == {"one": "revoked", "two": "expired"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["keys", "create", "one"],
        ["keys", "create", "one", "--scope", "serve"],
        ["keys", "create", "", "--scope", "ask"],
        ["keys", "revoke", "0000000000000000"],
    ],
)
def test_what_makes_no_sense_is_refused(store: Store, arguments: list[str]) -> None:
    assert run(arguments) in (1, 2)
    assert ApiKeys(store).all() == []
