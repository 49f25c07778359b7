"""What to do next, decided from what is seen: pure, level-triggered, no memory of its own.

Called at every look. An action that fails, or whose process is killed, is decided again at the
next look. Whatever is decided here follows from the store, from Qdrant, and from what this
process has loaded; so a restart needs no repair but to look.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from realm.records.states import ACTIVE, ENDED, IN_PROGRESS, SERVED, State

#: A snapshot that could not be built this often is left alone until a refresh is asked for.
MAX_ABANDONED = 3
#: Why a generation is built, or goes live.
ASKED = "refresh asked for"
REFRESH = "refresh"
HEAL = "live is damaged"
NEWER = "a newer snapshot was published"
UNREADABLE = "live's manifest is damaged"


@dataclass(frozen=True, slots=True)
class GenerationView:
    """A generation; `state` is None until its first event is recorded.

    `seconds` is for how long this process has seen it in that state: a new leader counts anew.
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


@dataclass(frozen=True, slots=True)
class Live:
    """The newest entry of `live/`, and the generation of the newest entry that differs and is
    not damaged.

    `turn` is the sequence number of the entry by which it went live, `at` Unix time, for people.
    """

    generation: int
    snapshot: int
    turn: int
    previous: int | None
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """`again`: the collection is not what its files say, which tells nothing of the snapshot."""

    passed: bool
    why: str = ""
    again: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the candidate is. Files are passage files; `loaded` is this process's memory."""

    generation: int
    files: frozenset[str]
    embedded: frozenset[str]
    loaded: frozenset[str]
    #: This process made its collection, and so knows what is in it.
    prepared: bool
    #: Qdrant has built its indexes, or took too long for it.
    optimised: bool
    follows: bool
    caught_up: bool
    probes_ready: bool
    verdict: Verdict | None
    #: Why it cannot be built, if so.
    hopeless: str = ""
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
    #: Who asked for it to go live whatever its quality; empty: nobody.
    refresh_forced: str = ""
    #: That snapshot turned out to be damaged: the next build, of whatever, answers the request.
    refresh_damaged: bool = False
    #: The snapshot of live may be used to make live again.
    can_heal: bool = True
    #: What failed lately for no fault of a snapshot is not tried again yet.
    waits: bool = False

    @property
    def turn(self) -> int:
        """Of what is live; 0: nothing is."""
        return self.live.turn if self.live else 0


@dataclass(frozen=True, slots=True)
class BeginBuild:
    """`forced` says who wants it live whatever the gate thinks of its quality; `request` is the
    newest request for a refresh, `replaces` the turn of what is live."""

    snapshot: int
    why: str
    request: int
    replaces: int
    forced: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """The state's event is missing: the truth is elsewhere (`live/`, a manifest)."""

    generation: int
    state: State
    why: str


@dataclass(frozen=True, slots=True)
class RequestShards:
    generation: int
    files: frozenset[str]


@dataclass(frozen=True, slots=True)
class RequestProbes:
    generation: int


@dataclass(frozen=True, slots=True)
class PrepareCollection:
    generation: int


@dataclass(frozen=True, slots=True)
class LoadShards:
    generation: int
    files: frozenset[str]


@dataclass(frozen=True, slots=True)
class Optimise:
    generation: int


@dataclass(frozen=True, slots=True)
class StartReplication:
    generation: int


@dataclass(frozen=True, slots=True)
class Validate:
    generation: int


@dataclass(frozen=True, slots=True)
class Commit:
    generation: int
    why: str


@dataclass(frozen=True, slots=True)
class EndBuild:
    """Ends a build: `state` is REJECTED or ABANDONED."""

    generation: int
    state: State
    why: str


@dataclass(frozen=True, slots=True)
class DropCollection:
    generation: int


@dataclass(frozen=True, slots=True)
class PointAlias:
    generation: int


Action = (
    BeginBuild | Record | RequestShards | RequestProbes | PrepareCollection | LoadShards
    | Optimise | StartReplication | Validate | Commit | EndBuild | DropCollection | PointAlias
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Decision:
    """The candidate that goes on, if any, and what to do, in this order."""

    candidate: int | None
    actions: list[Action] = field(default_factory=list)


def decide(seen: Observation) -> Decision:
    """The one entry."""
    candidate = candidate_of(seen.generations, seen.live, seen.floor)
    actions: list[Action] = [*_repairs(seen, candidate)]
    if candidate is None:
        actions += _begin(seen)
    elif seen.candidate is not None and seen.candidate.generation == candidate.number:
        actions += _build(seen, candidate, seen.candidate)
    if seen.qdrant_reachable:
        actions += _collections(seen)
    return Decision(candidate.number if candidate else None, actions)


def candidate_of(
    generations: tuple[GenerationView, ...], live: Live | None, floor: int = 0
) -> GenerationView | None:
    """The newest generation that is being built, and not by a leader that may wake."""
    building = [
        each
        for each in generations
        if each.term >= floor
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
            actions.append(Record(each.number, *wanted))
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


def _begin(seen: Observation) -> list[Action]:
    """The newest snapshot is built once by itself, and again whenever a refresh is asked for; live
    is made again when it is damaged, paused or not, until it is whole."""
    if seen.newest_snapshot is None or not seen.has_documents:
        return []
    answered = max((each.request for each in seen.generations), default=0)
    if seen.refresh_asked > answered and not seen.refresh_damaged:
        snapshot = seen.refresh_snapshot or seen.newest_snapshot
        why = f"forced by {seen.refresh_forced}" if seen.refresh_forced else ASKED
        return [BeginBuild(snapshot, why, seen.refresh_asked, seen.turn, seen.refresh_forced)]
    if seen.waits:
        return []
    if (heal := _heal_of(seen)) is not None:
        return [BeginBuild(heal, HEAL, seen.refresh_asked, seen.turn)]
    if seen.live and seen.live.generation not in {each.number for each in seen.generations}:
        # Its manifest is damaged: nobody can say what it is made of, so another takes its place.
        tried = [each for each in seen.generations if each.replaces == seen.turn]
        if len(tried) >= MAX_ABANDONED:
            return []
        return [BeginBuild(seen.newest_snapshot, UNREADABLE, seen.refresh_asked, seen.turn)]
    if seen.paused or (seen.live and seen.newest_snapshot <= seen.live.snapshot):
        return []
    builds = [
        each.state
        for each in seen.generations
        if each.snapshot == seen.newest_snapshot
        and each.why != HEAL
        # That its leader was lost says nothing about a snapshot.
        and not (each.term < seen.floor and each.state is State.ABANDONED)
    ]
    abandoned = builds.count(State.ABANDONED)
    if abandoned < len(builds) or abandoned >= MAX_ABANDONED:
        return []
    return [BeginBuild(seen.newest_snapshot, NEWER, seen.refresh_asked, seen.turn)]


def _build(seen: Observation, candidate: GenerationView, progress: Progress) -> list[Action]:
    number = candidate.number
    if candidate.replaces != seen.turn:
        # A rollback, another leader's commit, or a build of a release that did not note it.
        return [EndBuild(number, State.ABANDONED, "what is live is not what it was to replace")]
    if candidate.why == NEWER and _heal_of(seen) is not None:
        return [EndBuild(number, State.ABANDONED, "live is damaged and is made again first")]
    if progress.hopeless:
        return [EndBuild(number, State.ABANDONED, progress.hopeless)]
    if progress.stalled and (seen.newest_snapshot or 0) > candidate.snapshot:
        why = "it makes no progress, and a newer snapshot is there"
        return [EndBuild(number, State.ABANDONED, why)]
    if progress.verdict is not None and not progress.verdict.passed:
        state = State.ABANDONED if progress.verdict.again else State.REJECTED
        return [EndBuild(number, state, progress.verdict.why)]
    actions: list[Action] = []
    if missing := progress.files - progress.embedded - progress.loaded:
        actions.append(RequestShards(number, missing))
    if not progress.probes_ready:
        actions.append(RequestProbes(number))
    if seen.qdrant_reachable:
        actions += _fill(candidate, progress)
    return actions


def _fill(candidate: GenerationView, progress: Progress) -> list[Action]:
    number = candidate.number
    if not progress.prepared:
        return [PrepareCollection(number)]
    if ready := progress.embedded - progress.loaded:
        return [LoadShards(number, ready)]
    if progress.files - progress.loaded:
        return []
    if not progress.optimised:
        return [Optimise(number)]
    if not progress.follows:
        return [StartReplication(number)]
    if not progress.caught_up:
        return []
    if progress.verdict is not None:
        return [Commit(number, HEAL if candidate.why == HEAL else REFRESH)]
    return [Validate(number)] if progress.probes_ready else []


def _is_over(each: GenerationView, seen: Observation) -> bool:
    """Whether no request can still be at it."""
    return each.state in ENDED and each.seconds > seen.retirement_seconds


def _collections(seen: Observation) -> list[Action]:
    actions: list[Action] = []
    for each in seen.generations:
        if _is_over(each, seen) and (each.has_collection or each.state is State.RETIRED):
            actions.append(DropCollection(each.number))
    if seen.live and seen.alias != seen.live.generation:
        whole = {each.number for each in seen.generations if each.has_collection}
        if seen.live.generation in whole:
            actions.append(PointAlias(seen.live.generation))
    return actions
