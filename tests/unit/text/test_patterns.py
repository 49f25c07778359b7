from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
#: A group repeated without being tried again, and a group that is not tried again.
POSSESSIVE_GROUP = re.compile(r"\)(?:[*+?]|\{[\d,]+\})\+|\(\?>")


def test_no_pattern_has_what_an_earlier_python_matches_wrongly() -> None:
    """Before 3.11.5, as on Debian 12, such a group ends behind what it only began to match."""
    assert re.search(POSSESSIVE_GROUP, r"(?:ab)*+")
    sources = [file for part in ("realm", "services") for file in (ROOT / part).rglob("*.py")]
    assert len(sources) > 300
    assert [file.name for file in sources if POSSESSIVE_GROUP.search(file.read_text())] == []
