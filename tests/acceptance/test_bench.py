"""The short form of each bench, as a user runs it. Every claim that it makes must hold.

A short form proves less than the long one: half a minute of faults, for one, does not hit every
phase of a refresh.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.datasets import has_squad

ROOT = Path(__file__).parents[2]
SECONDS = 580

#: What the figures must show beyond the claims: that something was measured at all.
MEASURED: dict[str, Callable[[dict[str, Any]], bool]] = {
    "adopt": lambda figures: min(figures["searches"], figures["writes"]) > 10,
    "switch": lambda figures: len(figures["answers_by_encoder"]) == 2,
    "swap": lambda figures: figures["requests"]["search"] > 100,
    "changes": lambda figures: figures["embedded_by_refresh"] > 0,
    "gate": lambda figures: (
        min(figures[f"{of}_cost"]["min"] for of in ("noisy", "words", "reader")) >= 0.1
    ),
    "chaos": lambda figures: sum(figures["faults"].values()) >= 5 and figures["looked_at"] > 500,
    "rerank": lambda figures: figures["done"] == figures["questions"] > 10,
    "embed": lambda figures: min(figures["passages_a_second"].values()) > 0,
    "import": lambda figures: figures["written_before_the_kill"] < figures["documents"],
    "start": lambda figures: figures["searches"] > figures["answers"] > 0,
    "web": lambda figures: figures["http"]["web_ms"] > 0,
    "growth": lambda figures: figures["before"]["recall_at_5"] < figures["after"]["recall_at_5"],
}
#: What quick tests show too, in parts; and what starts clusters one after the other.
LONG = {"adopt", "changes", "import", "start", "web"}
#: Seeds whose short run injects each sort of fault.
SEEDS = {"chaos": "1"}


@pytest.mark.claims
@pytest.mark.timeout(SECONDS + 20)
@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=[pytest.mark.slow] * (each in LONG)) for each in MEASURED]
)
def test_every_claim_holds(name: str, tmp_path: Path) -> None:
    if name == "growth" and not has_squad():
        pytest.skip("SQuAD's questions are not beside the project")
    report = tmp_path / "report.json"
    seed = SEEDS.get(name, "0")
    done = subprocess.run(
        [sys.executable, "-m", "bench", name, "--quick", "--json", report, "--seed", seed],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-3000:]}"
    found = json.loads(report.read_text())
    assert all(claim["holds"] for claim in found["claims"])
    assert MEASURED[name](found["figures"]), found["figures"]
