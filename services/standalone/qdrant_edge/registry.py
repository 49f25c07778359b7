"""The collections of one folder: the catalogue on disk and a process for each collection.

The catalogue is one immutable record, replaced whole, for collections and aliases both, so that
deleting a collection and its aliases is one step at any kill.

<folder>/catalogue.json          collections, what they were created with, aliases
<folder>/collections/<name>/     one engine's files, opened by one child alone
<folder>/lock                    held by the front that serves the folder
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import shutil
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import structlog
from google.protobuf.json_format import MessageToDict, ParseDict

from realm.errors import Conflict, Corrupt, FailedPrecondition, InvalidInput, NotFound, Unsupported
from services.standalone.qdrant_edge.collection_process import CollectionProcess
from services.standalone.qdrant_edge.protocol import collections

FORMAT = 1
#: Qdrant, too, refuses these in a name, which becomes a folder's.
FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
NAME_LIMIT = 255

log = structlog.get_logger(__name__)

T = TypeVar("T")


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


class Registry:
    """Created by `open`, ended by `close`. Changes follow one another; reads never wait."""

    def __init__(self, folder: Path, optimize_above: int) -> None:
        self._folder = folder
        self._optimize_above = optimize_above
        self._catalogue_path = folder / "catalogue.json"
        self._collections_folder = folder / "collections"
        self._collections_folder.mkdir(parents=True, exist_ok=True)
        self._lock_file = lock_folder(folder)
        self._changing = asyncio.Lock()
        self._changes: set[asyncio.Task[Any]] = set()
        self._processes: dict[str, CollectionProcess] = {}
        self.catalogue = Catalogue()

    async def open(self) -> None:
        """Removes what a kill left half done and starts every collection's process.

        :raises Corrupt: if the catalogue cannot be read.
        """
        self.catalogue = load(self._catalogue_path)
        for stray in strays(self._collections_folder, self.catalogue.configs):
            log.warning("half_made_collection_removed", folder=stray.name)
            await asyncio.to_thread(shutil.rmtree, stray)
        self._processes = {
            name: CollectionProcess(self._collections_folder / name, config)
            for name, config in self.catalogue.configs.items()
        }
        await asyncio.gather(*(process.start_or_retry() for process in self._processes.values()))

    async def close(self) -> None:
        """Lets every process flush and end."""
        async with self._changing:
            await asyncio.gather(*(process.stop() for process in self._processes.values()))
        self._lock_file.close()

    def process(self, name: str) -> CollectionProcess:
        """By a collection's or an alias' name, resolved once.

        :raises NotFound: if there is no such collection.
        """
        return self._processes[self.catalogue.resolve(name)]

    async def create(self, config: collections.CreateCollection) -> None:
        """:raises RealmError: if the name is taken or the configuration cannot be served."""
        await self._whole(self._create(config))

    async def delete(self, name: str) -> bool:
        """Whether there was such a collection; an alias' name is none, as in Qdrant."""
        return await self._whole(self._delete(name))

    async def optimize(self, name: str) -> None:
        """Builds a collection's vector indexes in the background, if it is large enough.

        :raises NotFound: if there is no such collection.
        """
        process = self.process(name)
        if process.optimizing:
            return
        process.info = collections.CollectionInfo.FromString(await process.call("Info", b""))
        if process.info.points_count > self._optimize_above:
            process.optimize()

    async def change_aliases(self, actions: Iterable[collections.AliasOperations]) -> None:
        """Applies operations in turn, like Qdrant: those before a refused one stay applied.

        :raises RealmError: where an operation names what does not exist, or what does.
        """
        await self._whole(self._change_aliases(actions))

    async def _create(self, config: collections.CreateCollection) -> None:
        name = config.collection_name
        async with self._changing:
            self.catalogue.check_new(name)
            folder = self._collections_folder / name
            if folder.exists():  # left by a deletion that failed
                shutil.rmtree(folder)
            folder.mkdir()
            process = CollectionProcess(folder, config)
            try:
                await process.start()
                await self._commit(self.catalogue.with_collection(config))
            except Exception:
                await process.stop()
                shutil.rmtree(folder)
                raise
            self._processes[name] = process

    async def _delete(self, name: str) -> bool:
        async with self._changing:
            if name not in self.catalogue.configs:
                return False
            await self._commit(self.catalogue.without_collection(name))
            # a folder that outlives a kill here is no longer in the catalogue: a stray
            await self._processes.pop(name).stop()
            await asyncio.to_thread(shutil.rmtree, self._collections_folder / name)
            return True

    async def _change_aliases(self, actions: Iterable[collections.AliasOperations]) -> None:
        async with self._changing:
            for action in actions:
                await self._commit(self.catalogue.after(action))

    async def _commit(self, catalogue: Catalogue) -> None:
        # On disk first: no client may see a change that a kill could undo.
        await asyncio.to_thread(save, self._catalogue_path, catalogue)
        self.catalogue = catalogue

    async def _whole(self, change: Coroutine[Any, Any, T]) -> T:
        """A client that hangs up, or whose deadline passes, leaves no change half made."""
        task = asyncio.create_task(change)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)


def lock_folder(folder: Path) -> BinaryIO:
    """:raises FailedPrecondition: if another process serves the folder."""
    lock_file = (folder / "lock").open("wb")
    try:
        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock_file.close()
        raise FailedPrecondition(
            f"{folder} is served by another process; stop that one or name another folder"
        ) from None
    return lock_file
