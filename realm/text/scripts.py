"""The scripts that a text is written in, by the names of its letters in Unicode."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from functools import lru_cache


def share_in(text: str, scripts: Collection[str]) -> float:
    """The share of a text's letters that are of these scripts, such as `LATIN`; 1 without letters.

    A script is the first word of its letters' names.
    """
    found = [script for char in text if (script := script_of(char))]
    return sum(each in scripts for each in found) / len(found) if found else 1.0


@lru_cache(maxsize=4096)
def script_of(char: str) -> str:
    """Empty for what is no letter."""
    if not unicodedata.category(char).startswith("L"):
        return ""
    return unicodedata.name(char, "").partition(" ")[0]
