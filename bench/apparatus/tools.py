"""Programs that nothing but chaos needs: `make chaos-tools` installs all but Qdrant's server."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from realm.errors import BadSettings

QDRANT_PROGRAM = "REALM_TEST_QDRANT_PROGRAM"
LIBRARY = "vendor/libfaketime/src/libfaketime.so.1"


def toxiproxy() -> Path:
    """:raises BadSettings: if it is not installed."""
    beside = Path(sys.executable).with_name("toxiproxy-server")
    found = str(beside) if beside.exists() else shutil.which("toxiproxy-server")
    if found is None:
        raise _missing("toxiproxy-server")
    return Path(found)


def qdrant() -> Path:
    """Qdrant's own server, which no package index has.

    :raises BadSettings: if it is not installed.
    """
    if (found := os.environ.get(QDRANT_PROGRAM) or shutil.which("qdrant")) is None:
        raise BadSettings(
            "Qdrant's server is not installed, of which three peers are made: put `qdrant` where"
            f" PATH finds it, or name it by {QDRANT_PROGRAM}"
        )
    return Path(found)


def libfaketime() -> Path:
    """The library to preload. :raises BadSettings: if it is not installed."""
    # Found, not imported: it is for other processes.
    package = importlib.util.find_spec("libfaketime")
    library = Path(package.origin).parent / LIBRARY if package and package.origin else None
    if library is None or not library.exists():
        raise _missing("libfaketime")
    return library


def _missing(what: str) -> BadSettings:
    return BadSettings(
        f"{what} is not installed, which faults of network and clock need: run `make chaos-tools`"
    )
