from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("service", "setting", "value", "named"),
    [
        ("indexer", "REALM_SHARD_SECONDS", "never", "REALM_SHARD_SECONDS"),
        ("gateway", "REALM_READ_BATCH", "0", "REALM_READ_BATCH"),
        ("embedder", "REALM_DEVICE", "abacus", "abacus"),
        ("trainer", "REALM_NO_SUCH_THING", "1", "REALM_NO_SUCH_THING"),
    ],
)
def test_a_bad_setting_ends_the_process_with_one_sentence_and_code_2(
    service: str, setting: str, value: str, named: str, tmp_path: Path
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", f"services.{service}"],
        env={**os.environ, "REALM_STORE_URL": str(tmp_path / "store"), setting: value},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert named in ended.stderr
