"""Programs that measure what is claimed: `python -m bench NAME [--quick] --json FILE`."""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path
from typing import Protocol, cast

import structlog
from rich.console import Console

from bench.claims import Result, show, write
from realm.errors import RealmError

#: A bench's name and the module that holds it.
PROGRAMS = {
    "swap": "bench.swap.program",
    "changes": "bench.changes.program",
    "chaos": "bench.chaos.program",
    "switch": "bench.switch.program",
    "gate": "bench.gate.program",
    "growth": "bench.growth.program",
    "overhead": "bench.overhead.program",
}


class Program(Protocol):
    """What a bench's module offers."""

    def add_options(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, options: argparse.Namespace, folder: Path) -> Result: ...


def main(arguments: list[str]) -> int:
    """Exit code 0 if every claim holds, 1 if one fails or the bench broke off, 2 for bad usage."""
    name = arguments[0] if arguments else ""
    if name not in PROGRAMS:
        known = ", ".join(sorted(PROGRAMS))
        asked = f"there is no bench {name!r}" if name else "name a bench"
        sys.stderr.write(f"{asked}: those there are: {known}\n")
        return 2
    program = cast(Program, importlib.import_module(PROGRAMS[name]))
    options = _options(name, program, arguments[1:])
    # The table goes to standard output, what the supervisor says does not.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    console = Console()
    try:
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
            result = program.run(options, options.keep)
        else:
            with tempfile.TemporaryDirectory(prefix=f"realm-bench-{name}-") as folder:
                result = program.run(options, Path(folder))
    except RealmError as error:
        sys.stderr.write(f"{name} broke off: {error}\n")
        return 1
    show(result, console)
    if options.json:
        write(result, options.json)
    return 0 if result.holds else 1


def _options(name: str, program: Program, arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m bench {name}")
    parser.add_argument("--json", type=Path, help="write figures and claims into this file")
    parser.add_argument("--quick", action="store_true", help="a short form, about a minute")
    parser.add_argument("--keep", type=Path, help="folder for store and logs, which then stay")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    program.add_options(parser)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
