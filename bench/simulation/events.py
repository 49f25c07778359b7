"""What operators, clients and misfortune do, each in a thread of the world's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from bench.simulation.happenings import DOCUMENTS, Event, Happening
from bench.simulation.network import Outage, Service
from bench.simulation.storage import open_store
from realm.corpus.documents import Document
from realm.errors import NotReady, RealmError
from realm.records.controls import COLLECT, Controls
from services.indexer.writes.writer import check_changes

if TYPE_CHECKING:
    from bench.simulation.processes import IndexerSite, Site
    from bench.simulation.world import World

T = TypeVar("T")
#: How long a client waits for an answer, and how often it asks again.
ANSWER_SECONDS, ATTEMPTS = 6.0, 4
MOST_BYTES = 1 << 20
#: Makes a document that costs as much as several others.
LONG = 40


def perform(world: World, happening: Happening) -> None:
    world.network.note(f"[{happening.event}]", process="world")
    if world.mended and happening.event not in CLIENTS:
        return
    EVENTS[happening.event](world, happening)


def _write(world: World, happening: Happening, word: str = "", length: int = 1) -> None:
    name = _pick(DOCUMENTS, happening.which)
    world.requests += 1
    edition = world.requests
    text = f"{word} word {edition}. " * length
    _submit(world, [Document(name, "", text.strip(), {})], [])
    if not word and happening.which > 0.5:
        _search(world)


def _delete(world: World, happening: Happening) -> None:
    there = sorted(world.oracle.documents())
    if there:
        if any(each.indexer.memory.build for each in world.leaders()):
            world.oracle.reach("a document is deleted during a build")
        _submit(world, [], [_pick(there, happening.which)])


def _poison(world: World, happening: Happening) -> None:
    from bench.simulation.processes import KILLS

    _write(world, happening, KILLS, LONG)
    _after(world, 12.0, happening)


def _break(world: World, happening: Happening) -> None:
    from bench.simulation.processes import BREAKS

    _write(world, happening, BREAKS, LONG)
    _after(world, 4.0, happening)


def _after(world: World, seconds: float, happening: Happening) -> None:
    """Some who wrote what cannot be embedded delete it again."""
    if happening.which < 0.6:
        world.scheduler.sleep(seconds * happening.which)
        _submit(world, [], [_pick(DOCUMENTS, happening.which)])


def _submit(world: World, documents: list[Document], deletions: list[str]) -> None:
    """A client's call, sent again under the same id until it is answered, or given up."""
    world.requests += 1
    # Of this schedule: those of its beginning are known.
    name = f"{world.plan.seed}-{world.requests}"
    request, changes = check_changes(name, documents, deletions, MOST_BYTES)
    for attempt in range(ATTEMPTS):
        leader = _some_leader(world)
        if leader is not None:
            try:
                answer = leader.indexer.writer.submit(request, changes)
            except RealmError:
                answer = None
            until = world.scheduler.now + ANSWER_SECONDS
            while answer is not None and not answer.done() and world.scheduler.now < until:
                if not leader.process.alive:
                    break
                world.scheduler.sleep(0.1)
            if answer is not None and answer.done() and answer.exception() is None:
                world.oracle.acknowledged(request, answer.result())
                if world.rng.random() > 0.1 or attempt:
                    return
                world.oracle.reach("the answer to a write is lost, and it is sent again")
            elif answer and answer.done() and isinstance(answer.exception(), NotReady):
                world.oracle.reach("a write is refused: its indexer leads no more")
        world.scheduler.sleep(world.rng.uniform(0.2, 3.0))


def _some_leader(world: World) -> IndexerSite | None:
    """The newest, or one that only believes that it leads."""
    leaders = world.leaders()
    return leaders[-1 if world.rng.random() < 0.3 else 0] if leaders else None


def _search(world: World) -> None:
    """A request at a gateway: what it is promised must be found until it ends."""
    gateway = world.gateways[world.rng.randrange(len(world.gateways))]
    world.scheduler.sleep(world.rng.uniform(0.0, 2.0))
    if not gateway.process.alive or gateway.slot.current is None:
        return
    with gateway.slot.pin() as pinned:
        number, claimed = pinned.serving.number, pinned.freshness.searchable
        world.scheduler.sleep(world.rng.uniform(0.0, 2.0))
        if claimed and gateway.process.alive and gateway.watcher.ready:
            world.oracle.check_content(number, claimed)


def _publish(world: World, _: Happening) -> None:
    if any(each.indexer.memory.build for each in world.leaders()):
        world.oracle.reach("a snapshot is published during a build")
    world.publish(poor=False)


def _publish_poor(world: World, _: Happening) -> None:
    world.publish(poor=True)


def _roll_back(world: World, happening: Happening) -> None:
    """By the leader's own thread for calls; automatic refresh is resumed some time later."""
    leader = _some_leader(world)
    if leader is None:
        return
    if leader.indexer.memory.build is not None:
        world.oracle.reach("a rollback during a build")

    def call() -> None:
        try:
            leader.indexer.committer.roll_back("", happening.seconds)
        except RealmError:
            return

    leader.thread("call", call)
    world.scheduler.sleep(5.0)
    _controls(world).pause(False, "")


def _refresh(world: World, _: Happening) -> None:
    _controls(world).request_refresh("")


def _force(world: World, _: Happening) -> None:
    _controls(world).request_refresh("", forced="an operator")


def _controls(world: World) -> Controls:
    world.tell("live", 0.5)
    return Controls(open_store(world.disk, world.network))


def _housekeeping(world: World, _: Happening) -> None:
    open_store(world.disk, world.network).write(COLLECT, b"")


def _kill_leader(world: World, happening: Happening) -> None:
    if leaders := world.leaders():
        world.kill(_pick(leaders, happening.which).process)


def _resign(world: World, happening: Happening) -> None:
    if leaders := world.leaders():
        leader = _pick(leaders, happening.which)
        world.note_resignation(leader)
        leader.thread("stop", leader.resign)


def _pause_leader(world: World, happening: Happening) -> None:
    if leaders := world.leaders():
        _pause(world, _pick(leaders, happening.which), happening)


def _pause_gateway(world: World, happening: Happening) -> None:
    _pause(world, _pick(world.gateways, happening.which), happening)


def _pause_embedder(world: World, happening: Happening) -> None:
    _pause(world, _pick(world.embedders, happening.which), happening)


def _pause(world: World, site: Site, happening: Happening) -> None:
    site.process.paused_until = world.scheduler.now + 2 * happening.seconds


def _kill_embedder(world: World, happening: Happening) -> None:
    world.kill(_pick(world.embedders, happening.which).process)


def _kill_gateway(world: World, happening: Happening) -> None:
    world.kill(_pick(world.gateways, happening.which).process)


def _kill_all(world: World, _: Happening) -> None:
    for site in world.sites:
        world.kill(site.process)


def _wipe_redis(world: World, _: Happening) -> None:
    if any(each.indexer.memory.build for each in world.leaders()):
        world.oracle.reach("Redis is wiped during a build")
    world.redis.wipe()


def _away(service: Service) -> Callable[[World, Happening], None]:
    def away(world: World, happening: Happening) -> None:
        until = world.scheduler.now + happening.seconds
        world.network.outages.append(Outage(service, "", until))

    return away


def _store_away_from_leader(world: World, happening: Happening) -> None:
    if leaders := world.leaders():
        until = world.scheduler.now + 2 * happening.seconds
        world.network.outages.append(Outage(Service.STORE, leaders[0].name, until))


def _clock_jumps(world: World, happening: Happening) -> None:
    if leaders := world.leaders():
        leaders[0].process.skew += (happening.which - 0.5) * 86_400
        world.oracle.reach("the leader's wall clock jumps")


def _lose_points(world: World, happening: Happening) -> None:
    number = world.oracle.live_number
    points = world.qdrant.collections.get(f"passages-{number:08d}")
    if points:
        world.oracle.tainted.add(number)
        del points[_pick(sorted(points), happening.which)]
        world.oracle.reach("points of live are lost")


def _lose_collection(world: World, _: Happening) -> None:
    number = world.oracle.live_number
    if f"passages-{number:08d}" in world.qdrant.collections:
        world.oracle.tainted.add(number)
        del world.qdrant.collections[f"passages-{number:08d}"]
        world.oracle.reach("the collection of live is lost")


def _old_release(world: World, _: Happening) -> None:
    """The newest build, if it has not ended, was begun by a release that noted less of it."""
    numbers = [n for n, each in world.oracle.indexes.items() if each.state == "building"]
    if not numbers:
        return
    path = f"generations/{numbers[-1]:08d}/manifest.json"
    found = json.loads(world.disk.files[path])
    for later in ("checksum", "replaces", "request", "heals"):
        found.pop(later, None)
    world.disk.files[path] = json.dumps(found).encode()
    world.oracle.reach("a build of an earlier release is found")
    for leader in world.leaders():
        world.kill(leader.process)


def _long_pause(world: World, _: Happening) -> None:
    """Nothing happens for longer than a retired index is kept."""
    world.scheduler.sleep(90.0)


def _pick(among: Sequence[T], which: float) -> T:
    return among[int(which * len(among))]


EVENTS: dict[Event, Callable[[World, Happening], None]] = {
    Event.WRITE: _write,
    Event.DELETE: _delete,
    Event.POISON: _poison,
    Event.BREAK: _break,
    Event.PUBLISH: _publish,
    Event.PUBLISH_POOR: _publish_poor,
    Event.ROLL_BACK: _roll_back,
    Event.REFRESH: _refresh,
    Event.FORCE: _force,
    Event.HOUSEKEEPING: _housekeeping,
    Event.KILL_LEADER: _kill_leader,
    Event.PAUSE_LEADER: _pause_leader,
    Event.PAUSE_GATEWAY: _pause_gateway,
    Event.RESIGN: _resign,
    Event.KILL_EMBEDDER: _kill_embedder,
    Event.PAUSE_EMBEDDER: _pause_embedder,
    Event.KILL_GATEWAY: _kill_gateway,
    Event.KILL_ALL: _kill_all,
    Event.WIPE_REDIS: _wipe_redis,
    Event.STORE_AWAY: _away(Service.STORE),
    Event.STORE_AWAY_FROM_LEADER: _store_away_from_leader,
    Event.QDRANT_AWAY: _away(Service.QDRANT),
    Event.REDIS_AWAY: _away(Service.REDIS),
    Event.CLOCK_JUMPS: _clock_jumps,
    Event.LOSE_POINTS: _lose_points,
    Event.LOSE_COLLECTION: _lose_collection,
    Event.OLD_RELEASE: _old_release,
    Event.LONG_PAUSE: _long_pause,
}
#: What goes on when all is mended.
CLIENTS = frozenset({Event.WRITE, Event.DELETE})
