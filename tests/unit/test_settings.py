"""Settings: from environment and file, frozen, refused by name."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from realm.errors import BadSettings
from realm.settings import FLAT, Settings, field_of, load_settings


def test_the_environment_beats_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "realm.toml"
    file.write_text("candidates = 5\nseed = 7\n")
    monkeypatch.setenv("REALM_SETTINGS_FILE", str(file))
    monkeypatch.setenv("REALM_CANDIDATES", "6")
    settings = load_settings()
    assert (settings.model.candidates, settings.trainer.seed) == (6, 7)


@pytest.mark.parametrize(
    ("name", "value"), [("REALM_CANDIDATES", "one"), ("REALM_CANDIDATES", "1")]
)
def test_an_unusable_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadSettings, match=name):
        load_settings()


def test_an_unknown_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REALM_CANDIDATE", "8")
    with pytest.raises(BadSettings, match="REALM_CANDIDATE"):
        load_settings()


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REALM_SETTINGS_FILE", "/nowhere/realm.toml")
    with pytest.raises(BadSettings, match=r"/nowhere/realm\.toml"):
        load_settings()


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().trainer.seed = 1  # type: ignore[misc]


def test_every_setting_is_described() -> None:
    assert all(field_of(name).description for name in FLAT)


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"schedule": "cosine"}, "REALM_MAX_STEPS"),
        ({"patience": 2}, "REALM_EVALUATE_EVERY_STEPS"),
    ],
)
def test_a_setting_that_needs_another_names_it(given: dict[str, object], missing: str) -> None:
    with pytest.raises(BadSettings, match=missing):
        load_settings(**given)
