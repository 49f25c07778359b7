"""Runs a bench: `python -m bench NAME [--quick] --json FILE`."""

from __future__ import annotations

import importlib
import sys
import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import structlog
from rich.console import Console

from bench.claims import show, write
from bench.harness import Bench
from realm.errors import RealmError

#: Each has a folder of its name, whose `program` offers `BENCH`.
NAMES = ("changes", "chaos", "gate", "growth", "overhead", "swap", "switch")


def main(arguments: list[str]) -> int:
    """Returns 0 if every claim holds, 1 if one fails or the bench broke off, 2 for bad usage."""
    name = arguments[0] if arguments else ""
    if name not in NAMES:
        asked = f"unknown bench {name!r}" if name else "name a bench"
        sys.stderr.write(f"{asked}; available: {', '.join(NAMES)}\n")
        return 2
    bench: Bench[Any, Any] = importlib.import_module(f"bench.{name}.program").BENCH
    options = bench.parser(name).parse_args(arguments[1:])
    # The table goes to standard output, the supervisor's log does not.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        with _folder(name, options.keep) as folder:
            result = bench.run(options, Path(folder))
    except RealmError as error:
        sys.stderr.write(f"{name} broke off: {error}\n")
        return 1
    show(result, Console())
    if options.json:
        write(result, options.json)
    return 0 if result.holds else 1


def _folder(name: str, keep: Path | None) -> AbstractContextManager[Path | str]:
    if keep is None:
        return tempfile.TemporaryDirectory(prefix=f"realm-bench-{name}-")
    keep.mkdir(parents=True, exist_ok=True)
    return nullcontext(keep)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
