"""Ways in which a file is damaged, through the store: in a folder or in a bucket."""

from __future__ import annotations

import random
from collections.abc import Callable

from realm.errors import NotFound
from realm.records.store import Store

#: What becomes of a file's bytes, of which there is at least one; None: it is gone.
Damage = Callable[[bytes, random.Random], bytes | None]


def flip_bit(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]


def cut(data: bytes, rng: random.Random) -> bytes:
    """As a power cut leaves a file that was not synced: a part of it, or nothing."""
    return data[: rng.randrange(len(data))]


def lose(data: bytes, rng: random.Random) -> None:
    return None


def damage(store: Store, path: str, rng: random.Random, *ways: Damage) -> bool:
    """Damages a file in one of some ways. Returns whether it was there and held anything."""
    try:
        data = store.read(path)
    except NotFound:
        return False
    if not data:
        return False
    damaged = rng.choice(ways)(data, rng)
    if damaged is None:
        store.delete(path)
    else:
        store.write(path, damaged)
    return True
