from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.apparatus.disk import Disk
from realm.errors import BadSettings
from services.standalone.cluster import ProcessSpec


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path / "disk")
    try:
        made.open()
    except BadSettings as error:
        pytest.skip(error.message)
    yield made
    made.close()


def run(disk: Disk, *command: str) -> subprocess.CompletedProcess[str]:
    spec = disk.fit(ProcessSpec("somebody", command, {}, Path("log")))
    return subprocess.run(spec.command, capture_output=True, text=True, timeout=30, check=False)


def test_a_full_disk_takes_no_more_keeps_what_it_has_and_has_room_again(
    disk: Disk, tmp_path: Path
) -> None:
    folder = tmp_path / "disk"
    copy = ("cp", "/bin/sh", str(folder / "copy"))
    assert run(disk, "sh", "-c", f"echo before > {folder}/file").returncode == 0
    disk.fill()
    refused = run(disk, *copy)
    assert "No space left" in refused.stderr
    assert run(disk, "cat", str(folder / "file")).stdout == "before\n"
    disk.empty()
    assert run(disk, *copy).returncode == 0
    assert list(folder.iterdir()) == [], "nobody else sees it"


def test_a_machine_that_cannot_says_how_to_do_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadSettings, match="--without full_qdrant"):
        Disk(tmp_path / "disk")
