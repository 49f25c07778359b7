"""The tables of docs/quality.md, each row by the same starter at one commit.

What is done at a commit is kept in the folder of `--keep`, as are vectors: asked again, or broken
off, the bench measures only what is missing. `--only` names some of the tables.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from bench.claims import Claim, Result, at_least, commit
from bench.harness import Bench, Context
from bench.quality.corpora import corpus, has_data
from bench.quality.laboratory import Laboratory
from bench.quality.retrieval import by_each_way
from bench.quality.tables import Table
from realm.errors import InvalidInput
from realm.model.runtime import set_threads

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parameters:
    """`only` names tables, between commas (empty: all that there is data for); `questions` of each
    corpus are asked (0: all)."""

    only: str
    questions: int
    threads: int


def _retrieval(name: str, laboratory: Laboratory, parameters: Parameters) -> Table:
    asked = corpus(name)
    if parameters.questions:
        asked = asked.first(parameters.questions)
    return by_each_way(laboratory.encode(asked))


Measurement = Callable[[Laboratory, Parameters], Table]

#: What is measured, by the name of its table; without the corpus' data it is left out.
MEASUREMENTS: Mapping[str, tuple[str, Measurement]] = {
    name: (name, partial(_retrieval, name)) for name in ("dev", "kept_out", "python", "own_docs")
}

#: Table, row, column, and what stands there at least.
BOUNDS = (
    ("dev", "hybrid", "R@1", 0.83),
    ("dev", "hybrid", "R@5", 0.97),
)


def observe(parameters: Parameters, context: Context) -> dict[str, Table]:
    """:raises InvalidInput: if there is no table of a name."""
    set_threads(parameters.threads)
    laboratory = Laboratory(context.folder)
    return {
        name: _kept(context.folder, name, lambda: measure(laboratory, parameters))  # noqa: B023
        for name, measure in _chosen(parameters.only)
    }


def _chosen(only: str) -> Sequence[tuple[str, Measurement]]:
    names = [name.strip() for name in only.split(",") if name.strip()]
    if unknown := sorted(set(names) - MEASUREMENTS.keys()):
        raise InvalidInput(
            f"there is no table {', '.join(unknown)}: give some of {', '.join(MEASUREMENTS)}"
        )
    return [
        (name, measure)
        for name, (data, measure) in MEASUREMENTS.items()
        if (name in names or not names) and has_data(data)
    ]


def _kept(folder: Path, name: str, measure: Callable[[], Table]) -> Table:
    """A table that was measured at this commit before, with nothing changed since, is not again."""
    at = commit()
    file = folder / "tables" / at / f"{name}.json"
    if file.exists():
        return Table.from_json(json.loads(file.read_bytes()))
    table = measure()
    log.info("measured", table=name, about=table.about)
    if at and not at.endswith("+"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(table.to_json()))
    return table


def judge(parameters: Parameters, tables: dict[str, Table]) -> Result:
    claims: list[Claim] = []
    for name, row, column, bound in BOUNDS:
        cell = tables[name].cell(row, column) if name in tables else None
        if isinstance(cell, float) and not parameters.questions:
            claims.append(at_least(f"{name}: {column} by {row}", cell, bound))
    return Result({name: table.to_json() for name, table in tables.items()}, claims)


BENCH = Bench(
    description=__doc__ or "",
    full=Parameters(only="", questions=0, threads=2),
    quick=Parameters(only="own_docs", questions=12, threads=2),
    observe=observe,
    judge=judge,
    options={"only": "tables, between commas", "threads": "of the model's arithmetic"},
)
