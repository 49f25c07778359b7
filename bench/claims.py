"""The result of a bench: claims with their bounds, the figures behind them, machine and commit."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from services.standalone.report import machine

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence, the value measured, and the bound that it must keep."""

    claim: str
    value: float
    bound: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Result:
    """`figures` can be written as JSON: everything that the claims rest on."""

    figures: dict[str, Any]
    claims: Sequence[Claim]

    @property
    def holds(self) -> bool:
        return all(claim.holds for claim in self.claims)


def at_most(claim: str, value: float, bound: float) -> Claim:
    """NaN, which stands for no data, keeps no bound."""
    return Claim(claim, value, f"≤ {bound:g}", value <= bound)


def at_least(claim: str, value: float, bound: float) -> Claim:
    return Claim(claim, value, f"≥ {bound:g}", value >= bound)


def none(claim: str, count: int) -> Claim:
    return Claim(claim, count, "0", count == 0)


def write(result: Result, file: Path) -> None:
    """Writes the result as JSON, with the machine and the commit that it was measured on."""
    written = {
        "machine": machine(),
        "commit": commit(),
        "figures": result.figures,
        "claims": [asdict(claim) for claim in result.claims],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(written, indent=2) + "\n")


def show(result: Result, console: Console) -> None:
    """Prints the figures that are numbers, then the claims."""
    figures = Table("figure", "value", title="figures", title_justify="left")
    for name, value in _flat("", result.figures):
        figures.add_row(name, _formatted(value))
    console.print(figures)
    table = Table("claim", "measured", "bound", "", title="claims", title_justify="left")
    for claim in result.claims:
        verdict = "[green]holds[/]" if claim.holds else "[bold red]fails[/]"
        table.add_row(claim.claim, _formatted(claim.value), claim.bound, verdict)
    console.print(table)


def commit() -> str:
    """The commit that was measured; `+` if files differ from it, empty without git."""
    try:
        found = _git("rev-parse", "HEAD")
        return found + ("+" if _git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True, timeout=30
    )
    return done.stdout.strip()


def _flat(prefix: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [
            each
            for name, inner in value.items()
            for each in _flat(f"{prefix}.{name}" if prefix else str(name), inner)
        ]
    return [] if isinstance(value, list) else [(prefix, value)]


def _formatted(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
