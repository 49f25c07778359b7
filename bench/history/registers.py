"""Each document is a register: what reads of it saw must follow from its writes.

A read claims a corpus version V. It may show a state newer than V, never an older one. So a text
written at x must not be seen if another write took place at a version in (x, V]; and the text that
is the state at V must be found, unless a write that was under way replaced it. Writes whose fate is
unknown may explain what was not found, each at one version or never: a set of reads that no choice
of such versions explains breaks the promise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from bench.history.events import Seen
from bench.history.promises import Promise
from bench.history.writes import Certain, Write, Writes


@dataclass(frozen=True, slots=True)
class Look:
    """What one read tells about one document.

    :param claimed: the corpus version that the read claims to hold.
    :param sought: the revision whose words it asked for; None: the read shows the document in
        whatever state it is, or that it is not there.
    :param if_missing: the promise that is broken if it lacks what it must find; None: what it does
        not show says nothing.
    """

    source: str
    document: str
    claimed: int
    done: float
    seen: tuple[Seen, ...]
    sought: int | None = None
    if_missing: Promise | None = None

    @property
    def lacks(self) -> bool:
        """Whether it does not show what it was to find, for whatever reason."""
        if self.sought is None:
            return not self.seen
        return self.sought not in {each.revision for each in self.seen}


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a look."""

    look: Look
    what: str

    def __str__(self) -> str:
        return f"{self.look.source}: {self.what}"


@dataclass(frozen=True, slots=True)
class _Missing:
    """A look that did not find what stood at `version`: one of the candidates has to explain it, by
    having taken place at a version from that to `newest` (None: any)."""

    look: Look
    version: int
    newest: int | None
    candidates: tuple[Write, ...]


@dataclass(slots=True)
class Findings:
    """`decisive` counts looks that had to find something, `explained` those that only a write of
    unknown fate explains."""

    foreign: list[Finding] = field(default_factory=list)
    outdated: list[Finding] = field(default_factory=list)
    missing: list[Finding] = field(default_factory=list)
    decisive: int = 0
    explained: int = 0


def check_registers(writes: Writes, looks: Iterable[Look]) -> Findings:
    findings = Findings()
    registers: dict[str, _Register] = {}
    for look in looks:
        if look.document not in registers:
            registers[look.document] = _Register(writes, look.document, findings)
        registers[look.document].take(look)
    for register in registers.values():
        _explain(register.missing, register.forbidden, findings)
    return findings


class _Register:
    """One document. `forbidden` are ranges of versions in which no other write took place: what it
    would have replaced was seen there."""

    def __init__(self, writes: Writes, document: str, findings: Findings) -> None:
        self.missing: list[_Missing] = []
        self.forbidden: list[tuple[int, int]] = []
        self._writes = writes
        self._certain = writes.certain.get(document, [])
        self._maybe = writes.maybe.get(document, [])
        self._findings = findings

    def take(self, look: Look) -> None:
        for seen in look.seen:
            if why := _foreign(self._writes, look, seen):
                self._findings.foreign.append(Finding(look, why))
            elif newer := _newer(self._certain, seen.version, look.claimed):
                what = _outdated(seen, newer, look.claimed)
                self._findings.outdated.append(Finding(look, what))
            else:
                self.forbidden.append((seen.version + 1, look.claimed))
        if look.if_missing and (version := _must_be_found(self._certain, look)):
            self._seek(look, version)

    def _seek(self, look: Look, version: int) -> None:
        """Looks for the text of that version, or for a write that replaced it meanwhile."""
        if not look.lacks:
            self._findings.decisive += 1
            return

        def hides(revision: int | None, sent: float) -> bool:
            # An edit never makes a document vanish, but its words are others than those asked for.
            return sent < look.done and (revision is None or look.sought is not None)

        later = (each for each in self._certain if each.version > look.claimed)
        if any(hides(each.revision, each.sent) for each in later):
            return
        self._findings.decisive += 1
        candidates = tuple(each for each in self._maybe if hides(each.revision, each.sent))
        newest = self._writes.clock.ceiling(look.done)
        self.missing.append(_Missing(look, version, newest, candidates))


def _foreign(writes: Writes, look: Look, seen: Seen) -> str:
    """Whether nobody wrote what was seen, or not then."""
    what = f"{seen.document} at version {seen.version}"
    write = writes.writing(seen.document, seen.revision)
    if write is None:
        return f"{what}, revision {seen.revision}, which nobody wrote"
    if write.sent > look.done:
        return f"{what}, revision {seen.revision}, before it was written"
    version = writes.version_of(write)
    if version is None:
        return f"{what}, but that write was sent after version {write.floor} was acknowledged"
    if version != seen.version:
        return f"{what}, but revision {seen.revision} was written at version {version}"
    return ""


def _newer(certain: Sequence[Certain], version: int, claimed: int) -> Certain | None:
    return next((each for each in certain if version < each.version <= claimed), None)


def _outdated(seen: Seen, newer: Certain, claimed: int) -> str:
    how = "deleted" if newer.revision is None else "replaced"
    return (
        f"{seen.document} at version {seen.version} under claimed version {claimed}, but it was"
        f" {how} at version {newer.version}"
    )


def _must_be_found(certain: Sequence[Certain], look: Look) -> int:
    """The version of the text that a look has to find; 0 if there is none.

    Two writes may be of one version: then either may be the newest.
    """
    newest = max((each.version for each in certain if each.version <= look.claimed), default=0)
    states = [each.revision for each in certain if each.version == newest]
    if None in states or (look.sought is not None and states != [look.sought]):
        return 0
    return newest


def _explain(
    missing: Sequence[_Missing], forbidden: Sequence[tuple[int, int]], findings: Findings
) -> None:
    """Chooses a version, or never, for each write of unknown fate so that most looks are explained.

    :param forbidden: ranges of versions in which no other write took place: what it would have
        replaced was seen there.
    """
    if not missing:
        return
    every = (1 << len(missing)) - 1
    writes = {each.operation: each for one in missing for each in one.candidates}
    explained = {0}
    for write in writes.values():
        choices = {0, *_explainable(write, missing, forbidden)}
        explained = _largest(before | more for before in explained for more in choices)
    best = max(explained, key=int.bit_count)
    findings.explained += best.bit_count()
    for place, one in enumerate(missing):
        if (every & ~best) >> place & 1:
            findings.missing.append(Finding(one.look, _lacks(one)))


def _explainable(
    write: Write, missing: Sequence[_Missing], forbidden: Sequence[tuple[int, int]]
) -> Iterator[int]:
    """For each version at which the write may have taken place: which looks that explains, a bit
    each."""
    ranges = [_range(write, one) for one in missing]
    first = [least for least, _ in ranges] + [upto + 1 for _, upto in forbidden]
    for version in sorted({each for each in first if each > write.floor}):
        if any(after <= version <= upto for after, upto in forbidden):
            continue
        bits = 0
        for place, (least, most) in enumerate(ranges):
            if least <= version and (most is None or version <= most):
                bits |= 1 << place
        if bits:
            yield bits


def _range(write: Write, one: _Missing) -> tuple[int, int | None]:
    """The versions at which the write explains that look; empty if it cannot."""
    if write not in one.candidates:
        return (1, 0)
    # At the same version: two writes of one commit, in whichever order.
    return (max(one.version, write.floor + 1), one.newest)


def _largest(sets: Iterable[int]) -> set[int]:
    """Without those that are part of another."""
    found: set[int] = set()
    for each in sorted(set(sets), key=int.bit_count, reverse=True):
        if not any(each | other == other for other in found):
            found.add(each)
    return found


def _lacks(one: _Missing) -> str:
    look = one.look
    if not look.seen:
        saw = "it was not there"
    else:
        saw = f"it was seen at {sorted({each.version for each in look.seen})}"
    return (
        f"{look.document} was written at version {one.version}; under claimed version"
        f" {look.claimed} {saw}"
    )
