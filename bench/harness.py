"""The frame of every bench: parameters in a full and a quick form, observations, claims."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from bench.claims import Result

HISTORY = "history.jsonl"

#: A frozen dataclass of numbers and flags.
Parameters = TypeVar("Parameters")
Observations = TypeVar("Observations")


@dataclass(frozen=True, slots=True)
class Context:
    """`folder` takes stores, logs and the history; everything random follows from `seed`."""

    folder: Path
    seed: int
    bench: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def history(self) -> Path:
        return self.folder / HISTORY


@dataclass(frozen=True, slots=True)
class Bench(Generic[Parameters, Observations]):
    """Observes something, then judges what it observed; only `judge` knows the claims.

    :param options: help texts of the parameters that the command line may set, by field name.
    """

    description: str
    full: Parameters
    quick: Parameters
    observe: Callable[[Parameters, Context], Observations]
    judge: Callable[[Parameters, Observations], Result]
    options: Mapping[str, str] = field(default_factory=dict)

    def run(self, name: str, options: argparse.Namespace, folder: Path) -> Result:
        """:raises RealmError: if what it measures does not come up."""
        parameters = self.parameters(options)
        context = Context(folder, options.seed, name, asdict(cast("Any", parameters)))
        return self.judge(parameters, self.observe(parameters, context))

    def parameters(self, options: argparse.Namespace) -> Parameters:
        given = {name: getattr(options, name) for name in self.options}
        chosen: Any = self.quick if options.quick else self.full
        made: Parameters = replace(
            chosen, **{name: value for name, value in given.items() if value is not None}
        )
        return made

    def parser(self, name: str) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(f"python -m bench {name}", description=self.description)
        parser.add_argument("--json", type=Path, help="write figures and claims into this file")
        parser.add_argument("--quick", action="store_true", help="a short form, about a minute")
        parser.add_argument("--keep", type=Path, help="keep the store and the logs in this folder")
        parser.add_argument("--seed", type=int, default=0, help="of everything random")
        for option, words in self.options.items():
            kind = type(getattr(self.full, option))
            taken: dict[str, Any] = {"type": kind}
            if kind is bool:
                taken = {"action": "store_true", "default": None}
            parser.add_argument(f"--{option}", help=words, **taken)
        return parser
