"""`realm doctor`: what is wrong with a deployment, and what to do about each."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import typer
from rich.console import Group
from rich.text import Text

from realm.cli.options import AsJson, StoreUrl, check_packages, connect, open_store, settings_with
from realm.cli.output import messages, show
from realm.errors import BadSettings, DependencyUnavailable, NotFound, RealmError
from realm.settings import Settings

if TYPE_CHECKING:
    from realm.records.store import Store

PACKAGES = {
    "obstore": "service",
    "pyarrow": "service",
    "redis": "service",
    "qdrant_client": "indexer",
}
#: How long Redis and the gateway may take to answer.
SECONDS = 5.0
#: A disk, or a memory, with less room than this share is told of.
LITTLE_ROOM = 0.1


class Verdict(StrEnum):
    OK = "ok"
    WRONG = "wrong"
    #: It may be as it should be.
    DOUBTFUL = "doubtful"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one thing, and what to do if it is not as it should be."""

    about: str
    verdict: Verdict
    words: str
    cure: str = ""


#: Finds what there is to say of one thing. A RealmError is a finding too.
Check = Callable[[Settings, "Store | None"], Iterator[Finding]]


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(store: StoreUrl = "", as_json: AsJson = False) -> None:
    """Look at settings, store, Redis, Qdrant, models and gateway, and say what to do.

    Changes nothing. Exit code 1 if something is wrong.
    """
    check_packages("realm doctor", PACKAGES)
    found = list(examine(store))
    show([asdict(each) for each in found], as_json, Group(*map(_lines, found)))
    if any(each.verdict is Verdict.WRONG for each in found):
        raise typer.Exit(1)


def examine(store_url: str) -> Iterator[Finding]:
    try:
        settings = settings_with(store_url)
    except BadSettings as error:
        yield Finding("settings", Verdict.WRONG, error.message, "`realm settings` lists them all")
        return
    yield Finding("settings", Verdict.OK, f"{len(settings.given())} given, all known")
    opened: Store | None = None
    try:
        opened = open_store(settings)
    except RealmError as error:
        yield Finding(
            "store", Verdict.WRONG, error.message,
            "see REALM_STORE_URL; of a bucket also its keys (AWS_…), its region and its endpoint",
        )  # fmt: skip
    for about, check in CHECKS.items():
        with messages().status(about):
            try:
                yield from check(settings, opened)
            except RealmError as error:
                yield Finding(about, Verdict.WRONG, error.message)


def _store(_: Settings, store: Store | None) -> Iterator[Finding]:
    from realm.corpus.delta_log import newest_version
    from realm.records.strays import DAMAGED, Strays

    if store is None:
        return
    if store.root is not None:
        disk = shutil.disk_usage(store.root)
        words = f"{store.root} has {disk.free / 2**30:.1f} GiB free"
        little = disk.free < LITTLE_ROOM * disk.total
        if little:
            yield Finding("store", Verdict.DOUBTFUL, words, "free some room, or move the store")
        else:
            yield Finding("store", Verdict.OK, words)
    strays = Strays(store).scan()
    damaged = [each for each in strays if each.kind == DAMAGED]
    for each in damaged:
        yield Finding(
            "store", Verdict.WRONG, f"{each.path}: {each.why}", "restore it from a backup"
        )
    if not (version := newest_version(store)):
        yield Finding(
            "documents", Verdict.DOUBTFUL, "none was ever written",
            "`realm corpus import FOLDER`",
        )  # fmt: skip
    else:
        yield Finding("documents", Verdict.OK, f"corpus version {version}")


def _redis(settings: Settings, _: Store | None) -> Iterator[Finding]:
    from redis import Redis
    from redis.exceptions import RedisError

    client = Redis.from_url(
        settings.addresses.redis_url, socket_connect_timeout=SECONDS, socket_timeout=SECONDS
    )
    with closing(client):
        try:
            info = client.info()
        except (RedisError, OSError, ValueError) as error:
            yield Finding(
                "Redis", Verdict.WRONG, f"it does not answer: {error}",
                "answers go on, refreshes stand still: is it running, are REALM_REDIS_URL and its"
                " password right?",
            )  # fmt: skip
            return
    yield Finding("Redis", Verdict.OK, f"version {info['redis_version']}")
    most, used = info.get("maxmemory", 0), info["used_memory"]
    if most and used > (1 - LITTLE_ROOM) * most:
        yield Finding("Redis", Verdict.WRONG, f"uses {used} of {most} bytes", "raise its maxmemory")
    if (policy := info.get("maxmemory_policy")) != "noeviction":
        yield Finding(
            "Redis", Verdict.WRONG, f"its maxmemory-policy is {policy}: tasks may vanish",
            "set maxmemory-policy noeviction",
        )  # fmt: skip


def _qdrant(settings: Settings, _: Store | None) -> Iterator[Finding]:
    from realm.search.vector_index import look_at_peers

    for peer in look_at_peers(settings):
        if not peer.fault:
            yield Finding("Qdrant", Verdict.OK, f"{peer.address}: {peer.version}")
            continue
        yield Finding(
            "Qdrant", Verdict.WRONG, f"{peer.address}: {peer.fault}",
            "is it running, are REALM_QDRANT_URL (its gRPC port) and REALM_QDRANT_API_KEY right?",
        )  # fmt: skip


def _index(settings: Settings, store: Store | None) -> Iterator[Finding]:
    """Whether what is live is in Qdrant, and all of it."""
    from realm.records.controls import Controls, damage_of
    from realm.records.generations import Generations
    from realm.search.vector_index import open_index

    if store is None:
        return
    generations = Generations(store)
    if (live := generations.live()) is None:
        yield Finding(
            "index", Verdict.DOUBTFUL, "nothing is live yet",
            "it takes documents, a snapshot (`realm snapshots list`) and a running embedder",
        )  # fmt: skip
        return
    if damage := damage_of(store, live.generation):
        yield Finding(
            "index", Verdict.WRONG, f"generation {live.generation} is damaged: {damage}",
            "the leading indexer makes it again by itself; `realm generations list` shows how far",
        )  # fmt: skip
    if Controls(store).paused():
        yield Finding("index", Verdict.DOUBTFUL, "refreshing is paused", "`realm resume`")
    made = generations.get(live.generation)
    with closing(open_index(settings)) as index:
        try:
            points = index.count(made.collection)
        except NotFound:
            yield Finding(
                "index", Verdict.WRONG, f"Qdrant has no collection {made.collection}",
                "the leading indexer makes it again by itself; does REALM_QDRANT_URL name the"
                " Qdrant that it uses?",
            )  # fmt: skip
            return
        expected, alias = generations.points(live.generation), index.alias()
    words = f"generation {live.generation} is live: {points} points in {made.collection}"
    yield Finding("index", Verdict.OK, words)
    if expected is not None and points != expected:
        yield Finding(
            "index", Verdict.DOUBTFUL, f"its files ask for {expected}, unless a write is under way",
            "look again in a moment; the leading indexer counts too, and makes it again",
        )  # fmt: skip
    if alias != made.collection:
        yield Finding(
            "index", Verdict.DOUBTFUL, f"the alias `live` points to {alias or 'nothing'}",
            "the leading indexer mends it within seconds: does one lead?",
        )  # fmt: skip


def _models(settings: Settings, store: Store | None) -> Iterator[Finding]:
    from realm.model.base import find_folder
    from realm.records.snapshots import Snapshots

    model = settings.model
    for name in ("base_model", "reader_model", "cross_encoder"):
        if given := getattr(model, name):
            try:
                find_folder(given)
            except (NotFound, DependencyUnavailable) as error:
                yield Finding(
                    "models", Verdict.WRONG, error.message,
                    f"REALM_{name.upper()} is a folder that the trainer sees, or a name on the hub",
                )  # fmt: skip
    if store is None:
        return
    snapshots = Snapshots(store)
    if (newest := snapshots.newest()) is None:
        yield Finding(
            "models", Verdict.DOUBTFUL, "no snapshot was published",
            "start the trainer, or `realm snapshots publish MODEL`",
        )  # fmt: skip
        return
    snapshots.verify(newest)
    words = f"snapshot {newest.number} is whole: {newest.vector_size} dimensions"
    yield Finding("models", Verdict.OK, words)


def _gateway(settings: Settings, _: Store | None) -> Iterator[Finding]:
    try:
        with connect("", SECONDS) as client:
            status = client.status()
    except RealmError as error:
        yield Finding(
            "gateway", Verdict.WRONG, error.message,
            "is it running, and is REALM_GATEWAY_ADDRESS right? A write needs a leading indexer",
        )  # fmt: skip
        return
    ready = sum(each.ready for each in status.gateways)
    words = f"{len(status.gateways)} gateways report to the leading indexer, {ready} are ready"
    verdict = Verdict.OK if ready else Verdict.DOUBTFUL
    yield Finding(
        "gateway", verdict, words, "" if ready else "nothing is live yet, or none can load it"
    )
    if status.parked_documents:
        yield Finding(
            "documents", Verdict.WRONG, f"{status.parked_documents} are in no index",
            "no embedder gets through them: `realm status` names them",
        )  # fmt: skip


#: By what they are about, in the order in which one needs the other.
CHECKS: dict[str, Check] = {
    "store": _store,
    "Redis": _redis,
    "Qdrant": _qdrant,
    "index": _index,
    "models": _models,
    "gateway": _gateway,
}
STYLES = {Verdict.OK: "green", Verdict.WRONG: "red", Verdict.DOUBTFUL: "yellow"}


def _lines(finding: Finding) -> Text:
    verdict = f"{finding.verdict:<9}"
    line = Text.assemble((verdict, STYLES[finding.verdict]), f"{finding.about}: {finding.words}")
    if finding.cure:
        line.append(f"\n{'':<9}→ {finding.cure}", style="dim")
    return line
