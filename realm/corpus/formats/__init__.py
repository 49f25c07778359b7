"""Formats, one module each: a new one is one more module, found by itself.

A module registers with `@reader(".pdf")` a function from a file's bytes to its `PlainText`, or
with `@text_reader` one from its decoded text; of files that hold many documents, with
`@container(".parquet")` one that finds them. It may add a folder's layout to `LAYOUTS`, and to
`NAMED` a way to find what a name means.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache

from realm.corpus.containers import CONTAINERS, Container
from realm.corpus.plain_text import READERS, PlainText


@cache
def _imported() -> None:
    """Their parsers are imported here, so that who reads no file does not wait for them."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


def readers() -> Mapping[str, Callable[[bytes], PlainText]]:
    """By suffix."""
    _imported()
    return READERS


def containers() -> Mapping[str, Container]:
    """By suffix, of what they hold once unpacked."""
    _imported()
    return CONTAINERS
