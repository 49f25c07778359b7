"""What holds of every history of a document: the checker agrees with trying every outcome."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.history.events import Kind, Seen, Sent
from tests.unit.bench.history.histories import Story

#: Acknowledged versions lie so far apart: writes of unknown fate fit in between.
APART = 3


@dataclass(frozen=True)
class Write:
    """`version` None: nobody knows whether and when it took place."""

    revision: int | None
    version: int | None
    floor: int


@dataclass(frozen=True)
class Get:
    """`floor` and `ceiling` are the oldest and the newest version that it may show."""

    seen: Seen | None
    floor: int
    ceiling: int


@st.composite
def histories(draw: st.DrawFn) -> tuple[Story, list[Write], list[Get]]:
    """One client's writes and reads of one document, one after the other."""
    told, writes, floor = Story(), [Write(0, APART, 0)], APART
    told.upsert("a", 0, (0, 1), version=APART)
    looks: list[tuple[Seen | None, int, int]] = []
    steps = draw(st.lists(st.sampled_from(["upsert", "delete", "get", "get"]), max_size=7))
    for number, step in enumerate(steps, start=1):
        at = (2.0 * number, 2.0 * number + 1)
        if step == "get":
            sent = [each for each in writes if each.revision is not None]
            choices: list[Seen | None] = [None]
            for each in sent:
                versions = [each.version] if each.version else range(each.floor + 1, floor + APART)
                choices += [Seen("a", one, each.revision or 0) for one in versions]
            seen = draw(st.sampled_from(choices))
            told.get("a", at, seen)
            looks.append((seen, floor, len(writes)))
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
    gets = []
    for seen, oldest, sent_before in looks:
        later = [each.version for each in writes[sent_before:] if each.version]
        gets.append(Get(seen, oldest, min(later, default=floor + APART) - 1))
    return told, writes, gets


def explains(
    writes: list[Write], versions: tuple[int | None, ...], gets: list[Get], sent: list[int]
) -> bool:
    """Whether all reads follow if the writes took place at these versions."""
    for get, count in zip(gets, sent, strict=True):
        took_place = [
            (version, write.revision)
            for write, version in zip(writes[:count], versions[:count], strict=True)
            if version is not None
        ]
        wanted = (get.seen.version, get.seen.revision) if get.seen else None
        if not any(shows(took_place, at, wanted) for at in range(get.floor, get.ceiling + 1)):
            return False
    return True


def shows(
    took_place: list[tuple[int, int | None]], at: int, wanted: tuple[int, int] | None
) -> bool:
    """Whether the document may be so at a version; of one commit's writes, either is last."""
    newest = max(version for version, _ in took_place if version <= at)
    states = [(version, each) for version, each in took_place if version == newest]
    return any((None if each[1] is None else each) == wanted for each in states)


@settings(max_examples=400, deadline=None)
@given(histories())
def test_a_history_of_gets_is_right_if_some_outcome_explains_it(
    made: tuple[Story, list[Write], list[Get]],
) -> None:
    told, writes, gets = made
    newest = max(each.version or 0 for each in writes)
    outcomes = [
        [each.version] if each.version else [None, *range(each.floor + 1, newest + APART)]
        for each in writes
    ]
    sent = [how_many_were_sent(told, place) for place in range(len(gets))]
    possible = any(explains(writes, each, gets, sent) for each in product(*outcomes))
    assert (told.check().violations == []) == possible


def how_many_were_sent(told: Story, place: int) -> int:
    """Writes before the get at that place."""
    kinds = [each.kind for each in told.events if isinstance(each, Sent)]
    at = [number for number, kind in enumerate(kinds) if kind is Kind.GET][place]
    return sum(kind is not Kind.GET for kind in kinds[:at])
