"""Readers of file formats, one module each: a new format is one more module, found by itself.

A module registers with `@reader(".pdf")` a function from a file's bytes to its `PlainText`, or
with `@text_reader` one from its decoded text.
"""

from __future__ import annotations

import importlib
import pkgutil

from realm.corpus.plain_text import READERS

__all__ = ["READERS"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
