"""Claims, their bounds, and what is written of them."""

import io
import json
import math
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from rich.console import Console

from bench.__main__ import NAMES, main
from bench.claims import Result, at_least, at_most, none, show, write


def test_bounds_are_inclusive_and_nan_keeps_none() -> None:
    assert at_most("a", 1.5, 1.5).holds
    assert not at_most("a", 1.51, 1.5).holds
    assert at_least("a", 20, 20).holds
    assert not at_least("a", 19, 20).holds
    assert none("a", 0).holds
    assert not none("a", 1).holds
    assert not at_most("a", math.nan, 1.5).holds
    assert not at_least("a", math.nan, 1.5).holds


def test_one_failing_claim_is_enough() -> None:
    assert Result({}, [none("a", 0)]).holds
    assert not Result({}, [none("a", 0), none("b", 1)]).holds


def test_the_file_has_machine_commit_figures_and_claims(tmp_path: Path) -> None:
    write(Result({"x": {"y": 2}}, [at_most("quick", 1.0, 1.5)]), tmp_path / "deep" / "out.json")
    found = json.loads((tmp_path / "deep" / "out.json").read_text())
    assert set(found) == {"machine", "commit", "figures", "claims"}
    assert found["machine"]["cores"]
    assert found["figures"] == {"x": {"y": 2}}
    assert found["claims"] == [{"claim": "quick", "value": 1.0, "bound": "≤ 1.5", "holds": True}]


def test_the_table_names_every_claim_and_nested_figure() -> None:
    output = io.StringIO()
    result = Result({"latency": {"p99": 12.5}}, [none("lost", 0), none("failed", 3)])
    show(result, Console(file=output, width=100))
    for word in ("latency.p99", "12.5", "lost", "holds", "failed", "fails"):
        assert word in output.getvalue()


@pytest.mark.parametrize("arguments", [[], ["nothing"]])
def test_an_unknown_bench_is_answered_with_the_names(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert all(name in said for name in NAMES)


def test_options_override_the_parameters_of_either_form() -> None:
    swap = import_module("bench.swap.program").BENCH
    parse = swap.parser("swap").parse_args
    assert swap.parameters(parse([])) == swap.full
    assert swap.parameters(parse(["--quick"])) == swap.quick
    assert swap.parameters(parse(["--quick", "--minutes", "2"])) == replace(swap.quick, minutes=2.0)
