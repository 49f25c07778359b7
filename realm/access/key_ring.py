"""The API keys of the store, held in memory: no call waits for the store.

While the store is away, the keys that are known go on counting, as answers do.
"""

from __future__ import annotations

import asyncio
import time
from typing import NoReturn

import structlog

from realm.access.principal import Principal
from realm.errors import Corrupt, DependencyUnavailable, RealmError, Unauthenticated
from realm.records.keys import ApiKey, ApiKeys, id_of
from realm.records.store import Store

log = structlog.get_logger(__name__)


class KeyRing:
    """For the event loop; `refresh` blocks, and may run in a thread."""

    def __init__(self, store: Store) -> None:
        self._keys = ApiKeys(store)
        self._known: dict[str, tuple[ApiKey, Principal]] = {}
        self._revoked: frozenset[str] = frozenset()

    def refresh(self) -> None:
        """:raises DependencyUnavailable: if the store is away."""
        revoked = self._keys.revoked()
        known = {}
        for key in self._keys.all():
            try:
                known[key.id] = key, _principal(key)
            except Corrupt as error:
                # Without its filter it would open everything.
                log.error("key_passed_over", why=error.message)
        self._known = known
        self._revoked = revoked

    async def follow(self, pause_seconds: float) -> None:
        """Refreshes until cancelled."""
        reachable = True
        while True:
            try:
                await asyncio.to_thread(self.refresh)
                reachable = True
            except DependencyUnavailable as error:
                if reachable:
                    log.warning("keys_not_read", why=error.message)
                reachable = False
            except RealmError as error:
                log.error("keys_not_read", why=error.message)
            await asyncio.sleep(pause_seconds)

    def holds(self, token: str) -> bool:
        """Whether it is written as an API key is."""
        return bool(id_of(token))

    async def authenticate(self, token: str) -> Principal:
        """:raises Unauthenticated: only to whoever has the whole key does it say more."""
        key, principal = self._known.get(id_of(token)) or _unknown()
        if not key.opens_with(token):
            _unknown()
        if key.id in self._revoked:
            raise Unauthenticated(f"the key {key.id} was revoked: ask for another one")
        if key.expired(time.time()):
            raise Unauthenticated(f"the key {key.id} has expired: ask for another one")
        return principal


def _principal(key: ApiKey) -> Principal:
    """:raises Corrupt: if its filter cannot be read."""
    return Principal(f"key {key.id}", frozenset(map(str, key.scopes)), key.reach())


def _unknown() -> NoReturn:
    raise Unauthenticated("this key is not known: `realm keys list` names those that are")
