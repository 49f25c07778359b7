"""The tables of docs/quality.md, each row by the same starter at one commit.

What is done at a commit is kept in the folder of `--keep`, as are vectors: asked again, or broken
off, the bench measures only what is missing. `--only` names some of the tables.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import structlog

from bench.claims import Claim, Result, at_least, commit
from bench.harness import Bench, Context
from bench.quality.corpora import corpus, has_data
from bench.quality.costs import costs
from bench.quality.laboratory import Encoded, Laboratory
from bench.quality.retrieval import by_each_way
from bench.quality.tables import Table
from realm.errors import InvalidInput
from realm.model import multilingual
from realm.model.runtime import set_threads
from realm.retrieval import Retrieval

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parameters:
    """`only` names tables, between commas (empty: all that there is data for); `questions` of each
    corpus are asked (0: all)."""

    only: str
    questions: int
    threads: int


@dataclass(frozen=True, slots=True)
class Measurement:
    """`measure` makes a table of a corpus as a base encodes it (empty: the packaged one)."""

    corpus: str
    measure: Callable[[Encoded], Table]
    base: str = ""

    @property
    def possible(self) -> bool:
        """Whether corpus and base are there."""
        installed = self.base != multilingual.NAME or find_spec(multilingual.PACKAGE) is not None
        return has_data(self.corpus) and installed


def _measurements() -> dict[str, Measurement]:
    over_ranks = partial(by_each_way, against=Retrieval.RANK_FUSION)
    found = {name: Measurement(name, over_ranks) for name in ("dev", "kept_out")}
    read = partial(over_ranks, reranked=True)
    found |= {name: Measurement(name, read) for name in ("python", "own_docs")}
    over_vectors = partial(by_each_way, against=Retrieval.DENSE, reranked=True)
    asked = ("faq_rewordings", "faq_paraphrases")
    found |= {name: Measurement(name, over_vectors) for name in asked}
    over_words = partial(by_each_way, against=Retrieval.BM25)
    for base in ("", multilingual.NAME):
        for name in ("xquad_zh", "xquad_ar"):
            table = f"{name} by {base}" if base else name
            found[table] = Measurement(name, over_words, base)
    return found | {"costs": Measurement("dev", costs)}


#: What is measured, by the name of its table.
MEASUREMENTS: Mapping[str, Measurement] = _measurements()

#: Table, row, column, and what stands there at least.
BOUNDS = (
    ("dev", "hybrid", "R@1", 0.83),
    ("dev", "hybrid", "R@5", 0.97),
    ("python", "hybrid", "R@1", 0.65),
    ("python", "hybrid", "R@5", 0.90),
    *(
        (f"{name} by {multilingual.NAME}", "dense", "R@1", 0.85)
        for name in ("xquad_zh", "xquad_ar")
    ),
)


def observe(parameters: Parameters, context: Context) -> dict[str, Table]:
    """:raises InvalidInput: if there is no table of a name."""
    set_threads(parameters.threads)
    laboratories: dict[str, Laboratory] = {}

    def measure(wanted: Measurement) -> Table:
        made = Laboratory(context.folder, wanted.base)
        asked = corpus(wanted.corpus)
        if parameters.questions:
            asked = asked.first(parameters.questions)
        return wanted.measure(laboratories.setdefault(wanted.base, made).encode(asked))

    return {
        name: _kept(context.folder, name, partial(measure, wanted))
        for name, wanted in _chosen(parameters.only)
    }


def _chosen(only: str) -> Sequence[tuple[str, Measurement]]:
    names = [name.strip() for name in only.split(",") if name.strip()]
    if unknown := sorted(set(names) - MEASUREMENTS.keys()):
        raise InvalidInput(
            f"there is no table {', '.join(unknown)}: give some of {', '.join(MEASUREMENTS)}"
        )
    return [
        (name, wanted)
        for name, wanted in MEASUREMENTS.items()
        if (name in names or not names) and wanted.possible
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
