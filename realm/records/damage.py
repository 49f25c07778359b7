"""Generations whose collections are known to have lost something: one note each in the store.

The leader notes; gateways read it at every look and claim nothing of such a generation any more.
A note stays: what was lost is made again as another generation, never put back.
"""

from __future__ import annotations

import time

from realm.errors import Corrupt, NotFound
from realm.records.store import Store

FOLDER = "control/damaged"


def record_damage(store: Store, generation: int, why: str) -> None:
    store.write_json(_path(generation), {"why": why, "at": time.time()})


def damaged(store: Store) -> frozenset[int]:
    """Numbers of the generations that are noted."""
    names = (path.rpartition("/")[2].removesuffix(".json") for path in store.files(FOLDER))
    return frozenset(int(name) for name in names if name.isdecimal())


def damage_of(store: Store, generation: int) -> str:
    """What its collection has lost; empty if nothing is known."""
    try:
        return str(store.read_json(_path(generation)).get("why", "it is damaged"))
    except NotFound:
        return ""
    except Corrupt:
        return "it is damaged"


def _path(generation: int) -> str:
    return f"{FOLDER}/{generation:08d}.json"
