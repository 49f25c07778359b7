"""Reads a history and reports what breaks a promise. Pure: the same history, the same report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from bench.history.events import SEARCHES, WRITES, Excuse, Held, Kind, Seen
from bench.history.history import History, Operation
from bench.history.order import went_back
from bench.history.promises import Promise
from bench.history.registers import Findings, Look, check_registers
from bench.history.writes import Writes

MIXED = "mixed"
CHECKED = "one_version"


@dataclass(frozen=True, slots=True)
class Violation:
    promise: Promise
    what: str

    def __str__(self) -> str:
        return f"{int(self.promise)}. {self.promise.sentence} {self.what}"


@dataclass(frozen=True, slots=True)
class Report:
    """`violations` in the order of the promises; `gaps` is what the final read-out lacks.

    `excused` counts by the reason; `looks` are the reads of documents, of which `decisive` had to
    find something and `explained` follow from a write of unknown fate alone.
    """

    violations: list[Violation]
    gaps: list[str]
    excused: Counter[str] = field(default_factory=Counter)
    looks: int = 0
    decisive: int = 0
    explained: int = 0
    audited: int = 0

    @property
    def holds(self) -> bool:
        return not self.violations and not self.gaps

    def of(self, promise: Promise) -> list[str]:
        return [each.what for each in self.violations if each.promise is promise]


class _Excuses:
    """Finds the excuse for a failure, and counts it."""

    def __init__(self, excuses: Sequence[Excuse]) -> None:
        self.used: Counter[str] = Counter()
        self.looks: dict[str, list[Look]] = {}
        self._excuses = excuses

    def failure(self, each: Operation) -> bool:
        """Whether it may have failed."""
        return self._use(
            excuse
            for excuse in self._excuses
            if excuse.promise is Promise.AVAILABLE
            and excuse.during(each.began, each.done)
            and excuse.gateway in (None, each.gateway)
            and (excuse.needs is None or each.needs.intersection(excuse.needs))
        )

    def apply(self, look: Look, generation: int, began: float) -> Look:
        """The look; one that is no evidence if it may lack what it lacks."""
        if look.if_missing is None or not look.lacks:
            return look
        for excuse in self._excuses:
            if (
                excuse.promise is look.if_missing
                and excuse.during(began, look.done)
                and excuse.generation in (None, generation)
                and excuse.document in (None, look.document)
            ):
                self.looks.setdefault(excuse.why, []).append(look)
                return replace(look, if_missing=None)
        return look

    def count_looks(self, writes: Writes) -> None:
        """Those that lack what else they would have had to find."""
        for why, looks in self.looks.items():
            if missing := check_registers(writes, looks).missing:
                self.used[why] += len(missing)

    def _use(self, fitting: Iterator[Excuse]) -> bool:
        for excuse in fitting:
            self.used[excuse.why] += 1
            return True
        return False


def check(history: History) -> Report:
    """What a history shows of the promises."""
    excuses = _Excuses(history.excuses)
    seen = [*(each.seen for each in history.operations), *(each.documents for each in history.held)]
    writes = Writes(history.operations, chain.from_iterable(seen))
    looks = [
        *_looks_of_reads(history.operations, writes, excuses),
        *_looks_of_collections(history.held, writes, excuses),
    ]
    found = check_registers(writes, looks)
    broken: dict[Promise, list[str]] = {
        Promise.DURABLE: _missing(found, Promise.DURABLE),
        Promise.NOT_OUTDATED: [str(each) for each in found.outdated],
        Promise.WHOLE: [*_missing(found, Promise.WHOLE), *_unanswered(history, excuses)],
        Promise.ONE_VERSION: _mixed(history),
        Promise.COMMITTED: _uncommitted(history),
        Promise.OWN_WRITES: _older_than_asked(history),
        Promise.NEVER_BACK: [
            f"{each}: {what}" for each, what in went_back(history.operations, history.turns)
        ],
        Promise.WRITTEN_ONCE: [str(each) for each in found.foreign],
        Promise.AVAILABLE: _failed(history, excuses),
    }
    excuses.count_looks(writes)
    return Report(
        violations=[Violation(promise, what) for promise in Promise for what in broken[promise]],
        gaps=_gaps(history, writes),
        excused=excuses.used,
        looks=len(looks),
        decisive=found.decisive,
        explained=found.explained,
        audited=sum(each.verdict == CHECKED for each in history.audits),
    )


def _looks_of_reads(
    operations: Iterable[Operation], writes: Writes, excuses: _Excuses
) -> Iterator[Look]:
    for each in operations:
        if not each.ok or each.kind in WRITES:
            continue
        claimed, generation = writes.clock.floor(each.began), 0
        if each.origin is not None:
            claimed, generation = each.origin.corpus_version, each.origin.generation
        asked = {one.document: one.number for one in each.asked}
        for document in {*asked, *(one.document for one in each.seen)}:
            seen = tuple(one for one in each.seen if one.document == document)
            look = Look(str(each), document, claimed, each.done, seen)
            if document in asked and each.kind is Kind.GET:
                # From the corpus itself, which no damage of an index excuses.
                yield replace(look, if_missing=Promise.DURABLE)
            elif document in asked and each.kind in SEARCHES:
                look = replace(look, sought=asked[document], if_missing=Promise.WHOLE)
                yield excuses.apply(look, generation, each.began)
            else:
                yield look


def _looks_of_collections(
    held: Iterable[Held], writes: Writes, excuses: _Excuses
) -> Iterator[Look]:
    for each in held:
        documents: dict[str, list[Seen]] = {name: [] for name in writes.by_document}
        for one in each.documents:
            documents.setdefault(one.document, []).append(one)
        source = f"the collection of generation {each.generation}, read at {each.began:.1f}"
        for document, seen in documents.items():
            look = Look(
                source, document, each.applied, each.ended, tuple(seen), None, Promise.DURABLE
            )
            yield excuses.apply(look, each.generation, each.began)


def _missing(found: Findings, promise: Promise) -> list[str]:
    return [str(each) for each in found.missing if each.look.if_missing is promise]


def _unanswered(history: History, excuses: _Excuses) -> Iterator[str]:
    """Questions about what is in the corpus that got no answer."""
    for each in history.operations:
        if (
            not each.ok
            or each.ended.answers != 0
            or not (each.origin and each.origin.corpus_version)
        ):
            continue
        look = Look(str(each), "", 0, each.done, (), None, Promise.WHOLE)
        if excuses.apply(look, each.origin.generation, each.began).if_missing:
            yield f"{each}: no answer under claimed version {each.origin.corpus_version}"


def _mixed(history: History) -> list[str]:
    operations = {each.number: each for each in history.operations}
    found = [
        f"{operations[each.operation]}: recomputed from the store it differs ({each.why})"
        for each in history.audits
        if each.verdict == MIXED
    ]
    for each in history.operations:
        if each.origin is None or (made := history.made.get(each.origin.generation)) is None:
            continue
        if (each.origin.snapshot, each.origin.step) != (made.snapshot, made.step):
            found.append(f"{each}: {each.origin}, but it is {made}")
    return found


def _uncommitted(history: History) -> list[str]:
    committed = {each.generation for each in history.turns}
    # Entries of what was live may have been damaged; events of generations say it too.
    committed |= {each.generation for each in history.made.values() if each.live}
    return [
        f"{each}: generation {each.origin.generation} was never live"
        for each in history.operations
        if committed and each.origin is not None and each.origin.generation not in committed
    ]


def _older_than_asked(history: History) -> list[str]:
    return [
        f"{each}: asked for corpus version {each.sent.at_least}, got {each.origin.corpus_version}"
        for each in history.operations
        if each.origin is not None and each.origin.corpus_version < each.sent.at_least
    ]


def _failed(history: History, excuses: _Excuses) -> list[str]:
    """What was in flight when a recording broke off has neither failed nor succeeded."""
    broke_off = history.read is None
    return [
        f"{each}: {each.ended.why}"
        for each in history.operations
        if not each.ok
        and not (broke_off and each.done == float("inf"))
        and not excuses.failure(each)
    ]


def _gaps(history: History, writes: Writes) -> list[str]:
    """What the final read-out lacks: each document by each gateway, each served collection."""
    rest, read = history.rest, history.read
    if rest is None or read is None:
        return ["there is no final read-out, or it did not end"]
    final = [each for each in history.operations if each.began >= rest.at and each.ok]
    got = {
        (each.gateway, one.document)
        for each in final
        if each.kind is Kind.GET
        for one in each.asked
    }
    gaps = [
        f"{document} was not read at gateway {gateway}"
        for gateway in range(rest.gateways)
        for document in writes.by_document
        if (gateway, document) not in got
    ]
    newest = writes.clock.newest
    whole = {
        each.generation for each in history.held if each.began >= rest.at and each.applied >= newest
    }
    gaps += [
        f"the collection of generation {number} was not read at version {newest}"
        for number in sorted({*read.generations} - whole)
    ]
    return gaps
