"""Readers of file formats, one module each: a new format is one more module, found by itself.

A module registers with `@reader(".pdf")` a function from a file's bytes to its `PlainText`, or
with `@text_reader` one from its decoded text.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache

from realm.corpus.plain_text import READERS, PlainText


@cache
def readers() -> Mapping[str, Callable[[bytes], PlainText]]:
    """By suffix. Their parsers are imported here, so that who reads no file does not wait for
    them."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return READERS
