"""Whether all has come right once faults have stopped, and if not, what has not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bench.simulation.oracle import Index, Violation
from realm.records.controls import PAUSED

if TYPE_CHECKING:
    from bench.simulation.world import World


def unconverged(world: World) -> str:
    """What has not come right yet; empty: nothing."""
    if world.under_way:
        return "a call is under way"
    oracle = world.oracle
    leaders = [each for each in world.leaders() if each.election.term == oracle.term]
    if len(leaders) != 1:
        return "nobody leads"
    if not oracle.live_number:
        return "nothing is live" if oracle.documents() and _is_wanted(world) else ""
    live = oracle.live_number
    if any(index.state in ("", "building", "validating") for index in oracle.indexes.values()):
        return "a build has not ended"
    if live in oracle.damaged:
        return f"generation {live} is live, and damaged"
    if oracle.indexes[live].words_alone and _vectors_are_due(world):
        return f"generation {live} is live, of words alone, and nothing is made of vectors"
    for number in _served(world):
        if oracle.indexes[number].applied < oracle.version:
            return f"generation {number} has not applied version {oracle.version}"
    for gateway in world.gateways:
        current = gateway.slot.current if gateway.process.alive else None
        if current is None or current.number != live:
            return f"{gateway.name} does not answer with generation {live}"
        freshness = gateway.slot.freshness(live)
        if freshness is None or freshness.corpus_version < oracle.version:
            return f"{gateway.name} has not seen version {oracle.version}"
        if not gateway.watcher.ready:
            return f"{gateway.name} is not ready"
    if world.qdrant.alias != f"passages-{live:08d}":
        return f"the alias points to {world.qdrant.alias}"
    return _wrong_content(world)


def _is_wanted(world: World) -> bool:
    """Whether the newest snapshot should be live: nothing was tried with it, or is being."""
    newest = _newest_snapshot(world)
    return bool(newest) and "rejected" not in {each.state for each in _made_of(world, newest)}


def _vectors_are_due(world: World) -> bool:
    """Whether there is something to make, and nobody has tried with the newest snapshot."""
    told = world.disk.files.get(PAUSED)
    made = _made_of(world, _newest_snapshot(world))
    paused = told is not None and json.loads(told)["paused"]
    untried = all(each.words_alone for each in made)
    return bool(world.oracle.documents()) and not paused and untried


def _newest_snapshot(world: World) -> int:
    snapshots = [path for path in world.disk.files if path.endswith("manifest.json")]
    numbers = [int(path.split("/")[1].split("-")[0]) for path in snapshots if "-" in path]
    return max(numbers, default=0)


def _made_of(world: World, snapshot: int) -> list[Index]:
    indexes = world.oracle.indexes.values()
    return [each for each in indexes if each.manifest["snapshot"] == snapshot]


def _wrong_content(world: World) -> str:
    tainted, damaged = world.oracle.tainted, world.oracle.damaged
    world.oracle.tainted, world.oracle.damaged = set(), set()
    try:
        for number in _served(world):
            if number not in damaged:
                world.oracle.check_content(number, world.oracle.version)
    except Violation as violation:
        return str(violation)
    finally:
        world.oracle.tainted, world.oracle.damaged = tainted, damaged
    return ""


def _served(world: World) -> list[int]:
    return [
        number
        for number, index in world.oracle.indexes.items()
        if number == world.oracle.live_number or index.state == "retained"
    ]
