"""Runs a bench: `python -m bench NAME [--quick] --json FILE`; or checks a history that one left:
`python -m bench check FILE`."""

from __future__ import annotations

import argparse
import importlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import structlog
from rich.console import Console

from bench.claims import show, write
from bench.harness import HISTORY, Bench
from bench.history.checker import check
from bench.history.history import read_history
from realm.errors import RealmError

#: Each has a folder of its name, whose `program` offers `BENCH`.
NAMES = (
    "adopt", "changes", "chaos", "embed", "fuzz", "gate", "growth", "import", "overhead",
    "peers", "quality", "refresh", "rerank", "rest", "serve", "simulate", "start", "swap",
    "switch", "walk", "web",
)  # fmt: skip
FOLDERS = {"import": "importing", "simulate": "simulation"}
CHECK = "check"


def main(arguments: list[str]) -> int:
    """Returns 0 if every claim holds, 1 if one fails or the bench broke off, 2 for bad usage."""
    name = arguments[0] if arguments else ""
    if name == CHECK:
        return check_history(arguments[1:])
    if name not in NAMES:
        asked = f"unknown bench {name!r}" if name else "name a bench"
        sys.stderr.write(f"{asked}; available: {', '.join([*NAMES, CHECK])}\n")
        return 2
    room = FOLDERS.get(name, name)
    bench: Bench[Any, Any] = importlib.import_module(f"bench.{room}.program").BENCH
    options = bench.parser(name).parse_args(arguments[1:])
    # The table goes to standard output, the supervisor's log does not.
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    folder = options.keep or Path(tempfile.mkdtemp(prefix=f"realm-bench-{name}-"))
    folder.mkdir(parents=True, exist_ok=True)
    holds = False
    try:
        result = bench.run(name, options, folder)
        holds = result.holds
    except RealmError as error:
        sys.stderr.write(f"{name} broke off: {error}\n")
        return 1
    finally:
        failed = not holds and any(folder.iterdir())  # a simulation leaves nothing
        _end(folder, options.seed, keep=failed or options.keep is not None)
    show(result, Console())
    if options.json:
        write(result, options.json)
    return 0 if result.holds else 1


def check_history(arguments: list[str]) -> int:
    """Checks once more what a run recorded; returns 0 if it breaks no promise."""
    parser = argparse.ArgumentParser(f"python -m bench {CHECK}", description=check_history.__doc__)
    parser.add_argument("history", type=Path, help=f"a {HISTORY} that a run left")
    try:
        history = read_history(parser.parse_args(arguments).history)
    except (RealmError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    report = check(history)
    console = Console(highlight=False)
    for each in report.violations:
        console.print(str(each), markup=False)
    for gap in report.gaps:
        console.print(f"not covered: {gap}", markup=False)
    began = history.began
    console.print(
        f"{len(history.operations)} operations of {began.bench if began else 'a run'}, seed"
        f" {began.seed if began else 'unknown'}; {report.decisive} reads had to find a document,"
        f" {report.audited} responses were recomputed; {len(report.violations)} violations,"
        f" {len(report.gaps)} gaps"
    )
    return 0 if report.holds else 1


def _end(folder: Path, seed: int, *, keep: bool) -> None:
    """Removes what a run left, or says where it is."""
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
        return
    sys.stderr.write(f"store, logs and history (seed {seed}): {folder}\n")
    if (history := folder / HISTORY).exists():
        sys.stderr.write(f"to check it again: python -m bench {CHECK} {history}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
