"""What an evaluation found: shares, ranks, percentiles, and where it was measured."""

from __future__ import annotations

import os
import platform
import subprocess
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from realm import __version__
from realm.text.questions import Question, f1, is_exact_match

RECALL_AT = (1, 5, 20)
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
            *((f"R@{k} by document", _shown(self.documents[f"r@{k}"])) for k in RECALL_AT),
            *((f"R@{k} by answer", _shown(self.answers[f"r@{k}"])) for k in RECALL_AT),
            ("exact match", _shown(self.em)),
            ("F1", _shown(self.f1)),
            *(
                (f"latency {name}", _shown(ms, ".1f", " ms"))
                for name, ms in self.latency_ms.items()
            ),
        ]


def recalls(ranks: Sequence[int | None]) -> Shares:
    return {f"r@{k}": recall(ranks, k) for k in RECALL_AT}


def exact_match_share(read: Sequence[tuple[Question, str]]) -> float | None:
    """Of questions and what was answered."""
    return mean([float(is_exact_match(question, answer)) for question, answer in read])


def mean_f1(read: Sequence[tuple[Question, str]]) -> float | None:
    """Over the questions with answers in words: an expression has no overlap."""
    return mean([f1(answer, one.answers) for one, answer in read if one.answers])


def percentiles(milliseconds: Sequence[float]) -> dict[str, float | None]:
    return {"p50": percentile(milliseconds, 50), "p99": percentile(milliseconds, 99)}


def provenance(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Where and by which code figures were measured: without it a latency means nothing."""
    return {
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "device": str(device),
            "dtype": str(dtype),
            "python": platform.python_version(),
            "system": platform.platform(),
        },
        "version": __version__,
        "commit": _commit(),
    }


def recall(ranks: Sequence[int | None], k: int) -> float | None:
    """The share of questions whose rank (from 1; None: not found) is k or better.

    None without questions: a share of nothing is not 0.
    """
    if not ranks:
        return None
    return sum(rank is not None and rank <= k for rank in ranks) / len(ranks)


def first_rank(found: Iterable[Hashable], wanted: Collection[Hashable]) -> int | None:
    """The rank, from 1, of the first that is wanted among the distinct items of `found`, best
    first."""
    seen: set[Hashable] = set()
    for item in found:
        seen.add(item)
        if item in wanted:
            return len(seen)
    return None


def depth_for_documents(document_ids: Sequence[str], documents: int) -> int:
    """How many passages surely hold the best `documents` documents, wherever they rank.

    :param document_ids: of each passage.
    """
    largest = Counter(document_ids).most_common(documents)
    return sum(count for _, count in largest)


def mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def percentile(values: Sequence[float], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if values else None


def _commit() -> str | None:
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


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def _shown(value: float | None, form: str = ".4f", unit: str = "") -> str:
    return "not measurable" if value is None else f"{value:{form}}{unit}"
