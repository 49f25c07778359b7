"""The catalogue of collections and aliases: one immutable record, one file, replaced whole.

One file for both, so that deleting a collection and its aliases is one step at any kill.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict

from realm.errors import Conflict, Corrupt, InvalidInput, NotFound, Unsupported
from services.standalone.qdrant_edge.protocol import collections

FORMAT = 1
#: Qdrant, too, refuses these in a name, which becomes a folder's.
FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
NAME_LIMIT = 255


class AlreadyExists(Conflict):
    """A collection or alias of that name exists."""

    code = "ALREADY_EXISTS"
    reason = "ALREADY_EXISTS"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """`configs`: what each collection was created with; `aliases`: alias to collection."""

    configs: Mapping[str, collections.CreateCollection] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)

    def resolve(self, name: str) -> str:
        """The collection that a collection's or an alias' name means.

        :raises NotFound: if there is none.
        """
        resolved = self.aliases.get(name, name)
        if resolved not in self.configs:
            raise missing(name)
        return resolved

    def with_collection(self, config: collections.CreateCollection) -> Catalogue:
        return replace(self, configs={**self.configs, config.collection_name: config})

    def without_collection(self, name: str) -> Catalogue:
        """Its aliases go with it, silently, as in Qdrant."""
        return Catalogue(
            {key: config for key, config in self.configs.items() if key != name},
            {alias: target for alias, target in self.aliases.items() if target != name},
        )

    def check_new(self, name: str) -> None:
        """:raises InvalidInput: if it cannot be a name, or is an alias.
        :raises AlreadyExists: if it is a collection.
        """
        if not name or len(name.encode()) > NAME_LIMIT or name in (".", ".."):
            raise InvalidInput(f"A collection cannot be named {name!r}")
        if FORBIDDEN.search(name):
            raise InvalidInput(f'{name!r} holds one of the characters <>:"/\\|?* or a control')
        if name in self.configs:
            raise AlreadyExists(f"Collection `{name}` already exists!")
        if name in self.aliases:
            raise InvalidInput(f"Cannot create collection `{name}`: an alias has that name")

    def after(self, action: collections.AliasOperations) -> Catalogue:
        """After one alias operation; creating an alias that exists re-points it.

        :raises NotFound: if the collection does not exist.
        :raises AlreadyExists: if the alias has the name of a collection.
        :raises Unsupported: for operations other than creating.
        """
        if action.WhichOneof("action") != "create_alias":
            raise Unsupported("Of the operations on aliases, only creating is covered here")
        alias, target = action.create_alias.alias_name, action.create_alias.collection_name
        if target not in self.configs:
            raise missing(target)
        if not alias:
            raise InvalidInput("An alias needs a name")
        if alias in self.configs:
            raise AlreadyExists(f"Collection `{alias}` already exists!")
        return replace(self, aliases={**self.aliases, alias: target})


def missing(name: str) -> NotFound:
    return NotFound(f"Not found: Collection `{name}` doesn't exist!")


def load(path: Path) -> Catalogue:
    """:raises Corrupt: if the file is there and cannot be read."""
    if not path.exists():
        return Catalogue()
    try:
        stored: dict[str, Any] = json.loads(path.read_bytes())
        if stored["format"] != FORMAT:
            raise ValueError(f"format {stored['format']}, not {FORMAT}")
        configs = stored["collections"].items()
        return Catalogue(
            {name: ParseDict(config, collections.CreateCollection()) for name, config in configs},
            dict(stored["aliases"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Corrupt(f"{path} is not a catalogue of collections: {error}") from error


def save(path: Path, catalogue: Catalogue) -> None:
    """Replaces the file atomically: after a power cut it is the old or the new one."""
    stored = {
        "format": FORMAT,
        "collections": {
            name: MessageToDict(config, preserving_proto_field_name=True)
            for name, config in catalogue.configs.items()
        },
        "aliases": dict(catalogue.aliases),
    }
    temporary = path.with_suffix(".tmp")
    with temporary.open("w") as file:
        json.dump(stored, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def strays(folder: Path, known: Iterable[str]) -> list[Path]:
    """Folders of collections that a kill left half created or half deleted."""
    kept = set(known)
    return sorted(path for path in folder.iterdir() if path.name not in kept)
