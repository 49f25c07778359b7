"""API keys as the store keeps them: who each is of and what it may do, never the key itself.

A key is random, of 256 bits, so that nobody finds it from its SHA-256; a slow hash would add
nothing. Neither record ever changes: `keys/<id>.json` is the key, `keys/revoked/<id>.json` its end.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from google.protobuf import json_format

from realm.errors import Conflict, Corrupt, InvalidInput, NotFound
from realm.filters import check
from realm.records.json_records import KnownRecords
from realm.records.store import Store
from realm.v1.types_pb2 import Filter

FOLDER = "keys"
REVOKED = "keys/revoked"
MAX_NAME = 100
_KEY = re.compile(r"realm_([0-9a-f]{16})_[\w-]{43}", re.ASCII)


class Scope(StrEnum):
    """What a key may be made for."""

    ASK = "ask"
    WRITE = "write"
    OPERATE = "operate"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret. `expires_at` is in Unix time, 0: never. `filter` is a
    `realm.v1.Filter` as JSON, empty: none."""

    id: str
    name: str
    sha256: str
    scopes: tuple[Scope, ...]
    created_at: float
    expires_at: float = 0.0
    filter: str = ""

    def opens_with(self, secret: str) -> bool:
        return hmac.compare_digest(self.sha256, _hash(secret))

    def reach(self) -> Filter | None:
        """What documents match that its bearer reaches; None: all of them.

        :raises Corrupt: if a newer release made it, with conditions that this one does not know.
        """
        if not self.filter:
            return None
        try:
            return check(json_format.Parse(self.filter, Filter()))
        except (json_format.ParseError, InvalidInput) as error:
            raise Corrupt(f"the filter of the key {self.id} cannot be applied: {error}") from error

    def expired(self, now: float) -> bool:
        return 0 < self.expires_at <= now


@dataclass(frozen=True, slots=True)
class Revocation:
    """When a key was revoked, and why."""

    id: str
    at: float
    why: str = ""


class ApiKeys:
    """Makes, lists and revokes keys. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._records = KnownRecords(
            store, ApiKey, "key_passed_over", lambda key: f"{FOLDER}/{key.id}.json"
        )

    def create(
        self,
        name: str,
        scopes: Iterable[Scope],
        *,
        seconds: float = 0.0,
        filter: Filter | None = None,
    ) -> tuple[str, ApiKey]:
        """The key to hand over, which is kept nowhere, and its record.

        :param seconds: how long it is valid; 0: until it is revoked.
        :param filter: what documents match that its bearer reaches; None: all of them.
        :raises InvalidInput: without a name or a scope, or if the filter cannot be applied.
        """
        wanted = set(scopes)
        granted = tuple(each for each in Scope if each in wanted)
        if not name.strip() or len(name) > MAX_NAME:
            raise InvalidInput(f"give the key a name of 1 to {MAX_NAME} characters", field="name")
        if not granted:
            raise InvalidInput(f"give the key a scope: {', '.join(Scope)}", field="scopes")
        now = time.time()
        number = secrets.token_hex(8)
        key = f"realm_{number}_{secrets.token_urlsafe(32)}"
        expires_at = now + seconds if seconds else 0.0
        reach = "" if filter is None else json_format.MessageToJson(check(filter), indent=None)
        record = ApiKey(number, name, _hash(key), granted, now, expires_at, reach)
        self._store.create_json(f"{FOLDER}/{number}.json", _plain(record))
        return key, record

    def revoke(self, key_id: str, why: str = "") -> Revocation:
        """Once: later calls return the first revocation. A damaged key can be revoked too.

        :raises NotFound: if there is no such key.
        """
        if key_id not in self._ids():
            raise NotFound(f"there is no key {key_id}: `realm keys list` names those there are")
        path = f"{REVOKED}/{key_id}.json"
        revocation = Revocation(key_id, time.time(), why)
        with suppress(Conflict):
            self._store.create_json(
                path, {"id": key_id, "at": revocation.at, "why": revocation.why}
            )
        return self._store.read_record(path, Revocation)

    def all(self) -> list[ApiKey]:
        """Revoked and expired ones too, in the order in which they were made; not damaged ones."""
        found = [self._records.find(f"{FOLDER}/{each}.json") for each in self._ids()]
        return sorted((each for each in found if each is not None), key=lambda key: key.created_at)

    def revoked(self) -> frozenset[str]:
        """Ids of the keys that were revoked; of damaged revocations too."""
        return frozenset(_names(self._store.files(REVOKED)))

    def _ids(self) -> list[str]:
        return _names(path for path in self._store.files(FOLDER) if path.count("/") == 1)


def id_of(key: str) -> str:
    """The id in a key; empty if it is none of realm's."""
    found = _KEY.fullmatch(key)
    return found[1] if found else ""


def _plain(key: ApiKey) -> dict[str, object]:
    return {name: getattr(key, name) for name in ApiKey.__slots__}


def _names(paths: Iterable[str]) -> list[str]:
    return [path.rpartition("/")[2].removesuffix(".json") for path in paths]


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
