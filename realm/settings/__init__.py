"""The one settings object: frozen, in groups, from the environment (`REALM_*`) and a TOML file.

Built only at entry points and handed down. `realm settings` prints every field with its
meaning, default and where the value in force came from.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.fields import FieldInfo

from realm.errors import BadSettings
from realm.settings import groups
from realm.settings.access import Access
from realm.settings.objectives import Objectives
from realm.settings.training import Optimizer, Trainer
from realm.settings.web import Web

FILE_VARIABLE = "REALM_SETTINGS_FILE"
#: Read by other parts of the program than the settings object.
OTHER_VARIABLES = {FILE_VARIABLE, "REALM_HF_FIXTURE"}


class Settings(BaseModel):
    """Every knob of every service, by group: `settings.gateway.max_inflight`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    addresses: groups.Addresses = groups.Addresses()
    process: groups.Process = groups.Process()
    access: Access = Access()
    corpus: groups.Corpus = groups.Corpus()
    model: groups.Model = groups.Model()
    trainer: Trainer = Trainer()
    objectives: Objectives = Objectives()
    optimizer: Optimizer = Optimizer()
    embedder: groups.Embedder = groups.Embedder()
    indexer: groups.Indexer = groups.Indexer()
    gate: groups.Gate = groups.Gate()
    recording: groups.Recording = groups.Recording()
    gateway: groups.Gateway = groups.Gateway()
    web: Web = Web()

    @model_validator(mode="after")
    def _know_the_end(self) -> Self:
        schedule = self.optimizer.schedule
        if schedule != "constant" and not self.trainer.max_steps:
            raise ValueError(f"REALM_SCHEDULE={schedule} needs REALM_MAX_STEPS: where to end")
        return self

    def replace(self, **values: object) -> Settings:
        """A copy with other values, by their flat names: `replace(gate_probes=0)`."""
        changed = {**self.given(), **values}
        return _build(changed)

    def get(self, flat_name: str) -> Any:
        """The value of `gate_probes`."""
        group, field = FLAT[flat_name]
        return getattr(getattr(self, group), field)

    def given(self) -> dict[str, Any]:
        """Values that do not come from defaults, by their flat names."""
        return {
            name: self.get(name)
            for name, (group, field) in FLAT.items()
            if field in getattr(self, group).model_fields_set
        }


GROUPS: dict[str, type[groups.Group]] = {
    name: field.annotation  # type: ignore[misc]
    for name, field in Settings.model_fields.items()
}
#: Group and field of each flat name.
FLAT: dict[str, tuple[str, str]] = {
    group.flat_name(field): (name, field)
    for name, group in GROUPS.items()
    for field in group.model_fields
}


def variable(flat_name: str) -> str:
    """The environment variable of a setting."""
    return f"REALM_{flat_name.upper()}"


def field_of(flat_name: str) -> FieldInfo:
    group, field = FLAT[flat_name]
    return GROUPS[group].model_fields[field]


VARIABLES = frozenset(map(variable, FLAT))


def load_settings(**given: object) -> Settings:
    """Settings from arguments (by flat names), then environment, then the file.

    :raises BadSettings: naming each field that is unknown or unusable.
    """
    return _build({**_from_file(), **_from_environment(os.environ), **given})


def _from_file() -> dict[str, Any]:
    file = os.environ.get(FILE_VARIABLE)
    if not file:
        return {}
    if not Path(file).is_file():
        raise BadSettings(f"{FILE_VARIABLE} names {file}, which is not a file")
    try:
        return tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSettings(f"{file}, which {FILE_VARIABLE} names, is not TOML: {error}") from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    ours = {
        name: value
        for name, value in environment.items()
        if name.startswith("REALM_")
        and name not in OTHER_VARIABLES
        and not name.startswith("REALM_TEST_")
    }
    if unknown := sorted(ours.keys() - VARIABLES):
        raise BadSettings(
            f"unknown settings in the environment: {', '.join(unknown)};"
            " `realm settings` lists those there are"
        )
    return {name.removeprefix("REALM_").lower(): value for name, value in ours.items()}


def _build(values: Mapping[str, object]) -> Settings:
    if unknown := [name for name in values if name not in FLAT]:
        raise BadSettings(
            f"unusable settings: {', '.join(map(variable, unknown))}: there is none of that name;"
            " `realm settings` lists those there are"
        )
    grouped: dict[str, dict[str, object]] = {}
    for name, value in values.items():
        group, field = FLAT[name]
        grouped.setdefault(group, {})[field] = value
    try:
        return Settings.model_validate(grouped)
    except ValidationError as error:
        faults = "; ".join(
            f"{_variable_of(fault['loc'])}: {fault['msg']}" for fault in error.errors()
        )
        raise BadSettings(f"unusable settings: {faults}") from error


def _variable_of(location: tuple[int | str, ...]) -> str:
    """What a fault is about: one variable, or a group or all of them."""
    if len(location) < 2:
        return "REALM_*"
    group, field = map(str, location[:2])
    return variable(GROUPS[group].flat_name(field))
