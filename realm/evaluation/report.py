"""What an evaluation found, as JSON with fixed keys and as a table."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from realm import __version__
from realm.evaluation.metrics import RECALL_AT, recall

Shares = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Report:
    """Shares lie between 0 and 1; None is what the questions do not let measure."""

    system: str
    documents: Shares
    answers: Shares
    em: float | None
    f1: float | None
    latency_ms: dict[str, float | None]
    extras: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Keys that others rely on first, extras behind."""
        return {
            "system": self.system,
            "documents": self.documents,
            "answers": self.answers,
            "em": self.em,
            "f1": self.f1,
            "latency_ms": self.latency_ms,
            **self.extras,
        }

    def rows(self) -> list[tuple[str, str]]:
        """Name and value of each figure, for people."""
        return [
            *((f"R@{k} by document", _share(self.documents[f"r@{k}"])) for k in RECALL_AT),
            *((f"R@{k} by answer", _share(self.answers[f"r@{k}"])) for k in RECALL_AT),
            ("exact match", _share(self.em)),
            ("F1", _share(self.f1)),
            *((f"latency {name}", _milliseconds(ms)) for name, ms in self.latency_ms.items()),
        ]


def recalls(ranks: Sequence[int | None]) -> Shares:
    return {f"r@{k}": recall(ranks, k) for k in RECALL_AT}


def machine(threads: int, device: str, dtype: str) -> dict[str, Any]:
    """Where figures were measured: without it a latency means nothing."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "device": device,
        "dtype": dtype,
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def commit() -> str | None:
    """The commit of the checkout that this code lies in; None for an installed package."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def version() -> str:
    return __version__


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def _share(value: float | None) -> str:
    return "not measurable" if value is None else f"{value:.4f}"


def _milliseconds(value: float | None) -> str:
    return "not measurable" if value is None else f"{value:.1f} ms"
