"""Under which licence each package comes that realm runs on: `python -m tools.licences`, of what is
installed here. The wheel itself ships none of them (LICENSE, and realm/model/starter/README.md)."""

from __future__ import annotations

import runpy
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from tools.locked import entries

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "constraints.txt"
#: Writes what images hold, with licences, and runs where nothing else is installed.
BILL = ROOT / "deploy" / "docker" / "sbom.py"
EXTRA = "standalone"


def licences() -> dict[str, tuple[str, str]]:
    """Version and licence of each package of the extra; those of other platforms are not here."""
    told = runpy.run_path(str(BILL))["licences"]
    found = {}
    for lines, extras in entries(LOCK.read_text(encoding="utf-8")):
        if EXTRA in extras:
            with suppress(PackageNotFoundError):
                package = distribution(lines[0].partition("==")[0])
                found[package.metadata["Name"]] = package.version, ", ".join(told(package))
    return dict(sorted(found.items(), key=lambda each: each[0].lower()))


if __name__ == "__main__":
    for name, (version, licence) in licences().items():
        sys.stdout.write(f"{name} {version}: {licence or 'not told'}\n")
