"""What chaos needs is named when it is not there."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

from bench.apparatus import tools
from realm.errors import BadSettings


def test_a_missing_program_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    for find in (tools.toxiproxy, tools.libfaketime):
        with pytest.raises(BadSettings, match="make chaos-tools"):
            find()


def test_a_missing_qdrant_is_named_with_what_names_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(BadSettings, match="REALM_TEST_QDRANT_PROGRAM"):
        tools.qdrant()
    monkeypatch.setenv("REALM_TEST_QDRANT_PROGRAM", str(tmp_path))
    assert tools.qdrant() == tmp_path
