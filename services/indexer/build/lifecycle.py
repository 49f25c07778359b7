"""Decides what to do next from an observation: pure, level-triggered, without memory.

Every decision follows from the store, from Qdrant and from what this process has loaded. An action
that fails, or whose process is killed, is decided again at the next observation; so a restart needs
no repair.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from realm.records.snapshots import Snapshot
from realm.records.states import ACTIVE, ENDED, IN_PROGRESS, SERVED, State

#: A snapshot that could not be built this often is left alone until a refresh is asked for.
MAX_ABANDONED = 3
#: Why a generation is built, or goes live.
ASKED = "refresh asked for"
REFRESH = "refresh"
HEAL = "live is damaged"
NEWER = "a newer snapshot was published"
WORDS = "words answer until there are vectors"
VECTORS = "live is of words alone"
UNREADABLE = "live's manifest is damaged"


@dataclass(frozen=True, slots=True)
class GenerationView:
    """A generation; `state` is None until its first event is recorded.

    `seconds` is for how long this process has seen it in that state; a new leader starts from 0.
    """

    number: int
    snapshot: int
    state: State | None
    seconds: float
    #: Of live and the retained one, unless it is missing for certain; of a candidate, if any.
    has_collection: bool
    #: Of the leader that began it.
    term: int = 0
    #: The newest request for a refresh when it was begun.
    request: int = 0
    #: The turn of what was live when it was begun; None: its manifest does not say.
    replaces: int | None = None
    #: Its collection has lost something: it is not gone back to.
    damaged: bool = False
    #: Why it was begun.
    why: str = ""
    words_alone: bool = False


@dataclass(frozen=True, slots=True)
class Live:
    """The newest entry of `live/`, and the generation of the newest entry that differs and is
    not damaged; None if that one has ended, since nothing goes back to it.

    `turn` is the sequence number of the entry by which it went live, `at` Unix time, for people;
    `forced` says who wanted it live whatever the gate thinks.
    """

    generation: int
    snapshot: int
    turn: int
    previous: int | None
    at: float = 0.0
    words_alone: bool = False
    forced: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`retry`: the collection is not what its files say, which tells nothing of the snapshot."""

    passed: bool
    why: str = ""
    retry: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the candidate is. Files are passage files; `loaded` is this process's memory."""

    generation: int
    files: frozenset[str] = frozenset()
    embedded: frozenset[str] = frozenset()
    loaded: frozenset[str] = frozenset()
    #: This process made its collection, and so knows what is in it.
    prepared: bool = False
    #: Qdrant has built its indexes, or took too long for it.
    optimised: bool = False
    replicating: bool = False
    caught_up: bool = False
    probes_ready: bool = False
    verdict: Verdict | None = None
    #: Why it cannot be completed; empty: it can.
    failure: str = ""
    stalled: bool = False


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything that a decision rests on: no moment of any clock is among it."""

    retirement_seconds: float
    newest_snapshot: int | None
    has_documents: bool
    paused: bool
    #: The number of the newest request for a refresh; 0: there is none.
    refresh_asked: int
    live: Live | None
    generations: tuple[GenerationView, ...]
    candidate: Progress | None
    qdrant_reachable: bool
    alias: int | None
    #: A leader of an earlier term may be asleep over its build, and wake: builds before this
    #: are given up, so that no two processes ever fill one collection.
    floor: int = 0
    #: What the refresh asked for is to be made of; None: the newest snapshot.
    refresh_snapshot: int | None = None
    #: Who asked for it to go live whatever its quality; empty: no one.
    refresh_forced: str = ""
    #: That snapshot turned out to be damaged: the next build, of whatever, answers the request.
    refresh_damaged: bool = False
    #: The snapshot of live may be used to make live again.
    can_heal: bool = True
    #: What failed lately for no fault of a snapshot is not tried again yet.
    backing_off: bool = False
    #: Where nothing is live yet, words alone go live first.
    words_first: bool = False
    #: What is reported and passed on, and decides nothing: the newest corpus version that was
    #: acknowledged, all snapshots, and whether garbage is to be collected at once.
    corpus_version: int = 0
    published: tuple[Snapshot, ...] = ()
    collect: bool = False

    @property
    def turn(self) -> int:
        """Of what is live; 0: nothing is."""
        return self.live.turn if self.live else 0


@dataclass(frozen=True, slots=True)
class BeginBuild:
    """`forced` says who wants it live whatever the gate thinks of its quality; `request` is the
    newest request for a refresh that it answers, `replaces` the turn of what is live."""

    snapshot: int
    why: str
    request: int
    replaces: int
    forced: str = ""
    words_alone: bool = False


class Step(StrEnum):
    """What is done for one generation; also the label of `realm_indexer_action_failures_total`."""

    #: The state's event is missing: `live/` or a manifest says what it should be.
    RECORD_STATE = "record_state"
    REQUEST_SHARDS = "request_shards"
    REQUEST_PROBES = "request_probes"
    PREPARE_COLLECTION = "prepare_collection"
    LOAD_SHARDS = "load_shards"
    OPTIMISE = "optimise"
    START_REPLICATION = "start_replication"
    VALIDATE = "validate"
    COMMIT = "commit"
    #: Rejected or abandoned.
    END_BUILD = "end_build"
    DROP_COLLECTION = "drop_collection"
    POINT_ALIAS = "point_alias"


@dataclass(frozen=True, slots=True)
class Action:
    """A step for a generation: with passage files to request or load, with the state to record, or
    with the reason for a state or a commit."""

    step: Step
    generation: int
    files: frozenset[str] = frozenset()
    state: State | None = None
    why: str = ""


def decide(seen: Observation) -> list[BeginBuild | Action]:
    """What to do, in this order."""
    candidate = candidate_of(seen)
    actions: list[BeginBuild | Action] = [*_repairs(seen, candidate)]
    if candidate is None:
        actions += _begin(seen)
    elif seen.candidate is not None and seen.candidate.generation == candidate.number:
        actions += _build(seen, candidate, seen.candidate)
    if seen.qdrant_reachable:
        actions += _collections(seen)
    return actions


def candidate_of(seen: Observation) -> GenerationView | None:
    """The newest generation that is being built, and not by a leader that may wake."""
    live = seen.live
    building = [
        each
        for each in seen.generations
        if each.term >= seen.floor
        and each.state in IN_PROGRESS
        and (live is None or each.number not in (live.generation, live.previous))
    ]
    return max(building, key=lambda each: each.number, default=None)


def _repairs(seen: Observation, candidate: GenerationView | None) -> list[Action]:
    """State events follow `live/`, which is the truth; a leader killed in between left them."""
    actions: list[Action] = []
    for each in seen.generations:
        wanted = _wanted_state(each, seen, candidate)
        if wanted is not None and wanted[0] is not each.state:
            actions.append(Action(Step.RECORD_STATE, each.number, state=wanted[0], why=wanted[1]))
    return actions


def _wanted_state(
    each: GenerationView, seen: Observation, candidate: GenerationView | None
) -> tuple[State, str] | None:
    """The state that a generation should be recorded in, and why; None if all is as it is."""
    live = seen.live
    if live and each.number == live.generation:
        return State.LIVE, "it is the newest entry of live/"
    if each.state is not None and each.state not in ACTIVE:
        return None
    if live and each.number == live.previous:
        return State.RETAINED, "another one is live"
    if each.state in SERVED:
        return State.RETIRED, "it is damaged" if each.damaged else "newer ones are live"
    if candidate and each.number == candidate.number:
        return (State.BUILDING, "a build begins") if each.state is None else None
    if each.term < seen.floor:
        return State.ABANDONED, "another indexer leads now"
    return State.ABANDONED, "a newer build began"


def _heal_of(seen: Observation) -> int | None:
    """The snapshot that live, if it is damaged, is to be made again with; None if it is whole, or
    cannot be made of that snapshot."""
    live = seen.live
    damaged = live and any(e.damaged for e in seen.generations if e.number == live.generation)
    return live.snapshot if live and damaged and seen.can_heal else None


def _begin(seen: Observation) -> list[BeginBuild]:
    """The newest snapshot is built once by itself, and again whenever a refresh is asked for; live
    is made again when it is damaged, paused or not, until it is whole."""
    if seen.newest_snapshot is None or not seen.has_documents:
        return []
    answered = max((each.request for each in seen.generations), default=0)
    asked = seen.refresh_asked > answered
    if (asked or not seen.paused) and _words_come_first(seen):
        return [BeginBuild(seen.newest_snapshot, WORDS, answered, seen.turn, words_alone=True)]
    if asked and not seen.refresh_damaged:
        snapshot = seen.refresh_snapshot or seen.newest_snapshot
        why = f"forced by {seen.refresh_forced}" if seen.refresh_forced else ASKED
        return [BeginBuild(snapshot, why, seen.refresh_asked, seen.turn, seen.refresh_forced)]
    if seen.backing_off:
        return []
    if seen.live and (heal := _heal_of(seen)) is not None:
        # What the gate was overruled for, it would refuse again.
        forced, words_alone = seen.live.forced, seen.live.words_alone
        return [BeginBuild(heal, HEAL, seen.refresh_asked, seen.turn, forced, words_alone)]
    if seen.live and seen.live.generation not in {each.number for each in seen.generations}:
        # Its manifest is damaged, so it cannot be rebuilt: the newest snapshot replaces it.
        tried = [
            each
            for each in seen.generations
            if each.replaces == seen.turn
            and each.snapshot == seen.newest_snapshot
            and not _lost_its_leader(each, seen)
        ]
        if len(tried) >= MAX_ABANDONED:
            return []
        return [BeginBuild(seen.newest_snapshot, UNREADABLE, seen.refresh_asked, seen.turn)]
    live, words_alone = seen.live, seen.live is not None and seen.live.words_alone
    if seen.paused or (live and not words_alone and seen.newest_snapshot <= live.snapshot):
        return []
    builds = [
        each.state
        for each in seen.generations
        if each.snapshot == seen.newest_snapshot
        and each.why != HEAL
        and not each.words_alone
        and not _lost_its_leader(each, seen)
    ]
    abandoned = builds.count(State.ABANDONED)
    if abandoned < len(builds) or abandoned >= MAX_ABANDONED:
        return []
    why = VECTORS if words_alone else NEWER
    return [BeginBuild(seen.newest_snapshot, why, seen.refresh_asked, seen.turn)]


def _words_come_first(seen: Observation) -> bool:
    """Once: if they could not go live, nothing answers before the first vectors do."""
    tried = [each for each in seen.generations if each.words_alone]
    lost = [each for each in tried if _lost_its_leader(each, seen)]
    return seen.words_first and seen.live is None and len(tried) == len(lost)


def _lost_its_leader(each: GenerationView, seen: Observation) -> bool:
    """Which says nothing about its snapshot."""
    return each.term < seen.floor and each.state is State.ABANDONED


def _build(seen: Observation, candidate: GenerationView, progress: Progress) -> list[Action]:
    number = candidate.number
    if candidate.replaces != seen.turn:
        # A rollback, another leader's commit, or a build of a release that did not note it.
        return [_end(number, State.ABANDONED, "another generation went live since it began")]
    if candidate.why in (NEWER, VECTORS) and _heal_of(seen) is not None:
        return [_end(number, State.ABANDONED, "live is damaged and is made again first")]
    if progress.failure:
        return [_end(number, State.ABANDONED, progress.failure)]
    if progress.stalled and (seen.newest_snapshot or 0) > candidate.snapshot:
        why = "it makes no progress, and a newer snapshot is there"
        return [_end(number, State.ABANDONED, why)]
    if progress.verdict is not None and not progress.verdict.passed:
        state = State.ABANDONED if progress.verdict.retry else State.REJECTED
        return [_end(number, state, progress.verdict.why)]
    actions: list[Action] = []
    if missing := progress.files - progress.embedded - progress.loaded:
        actions.append(Action(Step.REQUEST_SHARDS, number, missing))
    if not progress.probes_ready:
        actions.append(Action(Step.REQUEST_PROBES, number))
    if seen.qdrant_reachable:
        actions += _fill(candidate, progress)
    return actions


def _end(number: int, state: State, why: str) -> Action:
    return Action(Step.END_BUILD, number, state=state, why=why)


def _fill(candidate: GenerationView, progress: Progress) -> list[Action]:
    number = candidate.number
    if not progress.prepared:
        return [Action(Step.PREPARE_COLLECTION, number)]
    if ready := progress.embedded - progress.loaded:
        return [Action(Step.LOAD_SHARDS, number, ready)]
    if progress.files - progress.loaded:
        return []
    if not progress.optimised:
        return [Action(Step.OPTIMISE, number)]
    if not progress.replicating:
        return [Action(Step.START_REPLICATION, number)]
    if not progress.caught_up:
        return []
    if progress.verdict is not None:
        why = candidate.why if candidate.why in (HEAL, WORDS) else REFRESH
        return [Action(Step.COMMIT, number, why=why)]
    return [Action(Step.VALIDATE, number)] if progress.probes_ready else []


def _collections(seen: Observation) -> list[Action]:
    actions: list[Action] = []
    for each in seen.generations:
        # No request can still be at it.
        over = each.state in ENDED and each.seconds > seen.retirement_seconds
        if over and (each.has_collection or each.state is State.RETIRED):
            actions.append(Action(Step.DROP_COLLECTION, each.number))
    if seen.live and seen.alias != seen.live.generation:
        whole = {each.number for each in seen.generations if each.has_collection}
        if seen.live.generation in whole:
            actions.append(Action(Step.POINT_ALIAS, seen.live.generation))
    return actions
