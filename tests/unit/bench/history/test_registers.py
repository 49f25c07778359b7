"""What holds of every history of a document: the checker agrees with trying every outcome."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.history.events import WRITES, Seen, Sent
from bench.history.promises import Promise
from tests.unit.bench.history.histories import Story, broken

#: Acknowledged versions lie so far apart: writes of unknown fate fit in between.
APART = 3


@dataclass(frozen=True)
class Write:
    """`version` None: nobody knows whether and when it took place."""

    revision: int | None
    version: int | None
    floor: int


@dataclass(frozen=True)
class Read:
    """`floor` and `ceiling` are the oldest and the newest version that it may show; a search asks
    for the words of one revision (`sought`), a get for whatever there is."""

    seen: Seen | None
    floor: int
    ceiling: int
    sought: int | None


@st.composite
def histories(draw: st.DrawFn) -> tuple[Story, list[Write], list[Read]]:
    """One client's writes and reads of one document, one after the other."""
    told, writes, floor = Story(), [Write(0, APART, 0)], APART
    told.upsert("a", 0, (0, 1), version=APART)
    reads: list[tuple[Seen | None, int, int | None, int]] = []
    steps = draw(st.lists(st.sampled_from(["upsert", "delete", "get", "search"]), max_size=7))
    for number, step in enumerate(steps, start=1):
        at = (2.0 * number, 2.0 * number + 1)
        if step in ("get", "search"):
            texts = [each for each in writes if each.revision is not None]
            choices: list[Seen | None] = [None]
            for each in texts:
                versions = [each.version] if each.version else range(each.floor + 1, floor + APART)
                choices += [Seen("a", one, each.revision or 0) for one in versions]
            seen = draw(st.sampled_from(choices))
            claimed, sought = floor, None
            if step == "get":
                told.get("a", at, seen)
            else:
                claimed = draw(st.integers(0, floor))
                sought = draw(st.sampled_from([each.revision for each in texts]))
                told.search("a", sought or 0, at, claims=claimed, sees=[seen] if seen else [])
            reads.append((seen, claimed, sought, len(writes)))
            continue
        known = draw(st.booleans())
        version = floor + APART if known else None
        revision = number if step == "upsert" else None
        writes.append(Write(revision, version, floor))
        if revision is None:
            told.delete("a", at, version)
        else:
            told.upsert("a", revision, at, version)
        floor = version or floor
    found = []
    for seen, claimed, sought, sent_before in reads:
        later = [each.version for each in writes[sent_before:] if each.version]
        found.append(Read(seen, claimed, min(later, default=floor + APART) - 1, sought))
    return told, writes, found


def explains(
    writes: list[Write], versions: tuple[int | None, ...], reads: list[Read], sent: list[int]
) -> bool:
    """Whether all reads follow if the writes took place at these versions."""
    for read, count in zip(reads, sent, strict=True):
        took_place = [
            (version, write.revision)
            for write, version in zip(writes[:count], versions[:count], strict=True)
            if version is not None
        ]
        if not any(shows(took_place, at, read) for at in range(read.floor, read.ceiling + 1)):
            return False
    return True


def shows(took_place: list[tuple[int, int | None]], at: int, read: Read) -> bool:
    """Whether the read follows if the document is as it is at a version; of one commit's writes,
    either may be the last."""
    newest = max((version for version, _ in took_place if version <= at), default=0)
    states = [(version, each) for version, each in took_place if version == newest] or [(0, None)]
    if read.seen is not None:
        return (read.seen.version, read.seen.revision) in states
    if read.sought is not None:
        return any(revision != read.sought for _, revision in states)
    return any(revision is None for _, revision in states)


@settings(max_examples=400, deadline=None)
@given(histories())
def test_a_history_is_right_if_some_outcome_of_its_uncertain_writes_explains_it(
    made: tuple[Story, list[Write], list[Read]],
) -> None:
    told, writes, reads = made
    newest = max(each.version or 0 for each in writes)
    outcomes = [
        [each.version] if each.version else [None, *range(each.floor + 1, newest + APART)]
        for each in writes
    ]
    sent = [how_many_were_sent(told, place) for place in range(len(reads))]
    possible = any(explains(writes, each, reads, sent) for each in product(*outcomes))
    relevant = {Promise.DURABLE, Promise.NOT_OUTDATED, Promise.WHOLE, Promise.WRITTEN_ONCE}
    assert (not relevant.intersection(broken(told.check()))) == possible


def how_many_were_sent(told: Story, place: int) -> int:
    """Writes before the read at that place."""
    kinds = [each.kind for each in told.events if isinstance(each, Sent)]
    at = [number for number, kind in enumerate(kinds) if kind not in WRITES][place]
    return sum(kind in WRITES for kind in kinds[:at])
