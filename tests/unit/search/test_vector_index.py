"""The vector database stays behind `realm.search.vector_index`."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
ALLOWED = ("realm/search/qdrant/", "services/standalone/qdrant_edge/")
IMPORTS = re.compile(r"^\s*(?:from|import) (?:qdrant_client|realm\.search\.qdrant)\b", re.MULTILINE)


def test_nobody_else_imports_qdrant() -> None:
    files = [path for top in ("realm", "services") for path in (ROOT / top).rglob("*.py")]
    found = {
        path.relative_to(ROOT).as_posix() for path in files if IMPORTS.search(path.read_text())
    }
    others = {path for path in found if not path.startswith(ALLOWED)}
    assert others == {"realm/search/vector_index.py"}, "it opens the one in use"
