"""One trace for a refresh, over all processes and all their restarts.

Its ids follow from the snapshot's manifest, and those of its parts from the generation's number:
so they need not be passed on, and a process that restarts continues the same trace.

    snapshot                          trainer, from writing to publication
    └ refresh                         indexer, from publication to the last gateway's flip
      ├ queue, embed, load, …         indexer, the phases
      │ └ realm.embed_shard, …        embedders, with load, read, encode, write
      └ gateway flip                  each gateway, with loading and warming the models
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from realm.records.states import TOTAL
from realm.tracing import API, EXPORT

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from realm.records.snapshots import Snapshot

Attributes = Mapping[str, Any]


class RefreshTrace:
    """The trace of a snapshot's refresh. Every method is free while traces are off."""

    __slots__ = ("_about", "_seed", "_snapshot")

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        # Stores begin with the same base and the same number, but never at the same instant.
        self._seed = f"{snapshot.name} {snapshot.created_at!r}"
        self._about = {
            "realm.snapshot": snapshot.number,
            "realm.step": snapshot.step,
        }

    @staticmethod
    def on() -> bool:
        """Whether this process exports traces."""
        return EXPORT in sys.modules

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits, also while traces are off: logs of all processes share it."""
        return f"{_number(self._seed, bits=128):032x}"

    def published(self, seconds: float, until: float) -> None:
        """The trainer's part: writing took `seconds`, until a Unix time."""
        self._record("snapshot", None, until - seconds, until, {}, key=("snapshot",))

    def ended(self, generation: int, phases: Mapping[str, float], outcome: str, at: float) -> None:
        """The indexer's part, over at a Unix time: phases in their order, in seconds, and `total`.

        Phases follow one another from the beginning on: `total` before the end.
        """
        root = ("refresh", generation)
        about = {"realm.generation": generation, "realm.outcome": outcome}
        began = at - phases[TOTAL]
        self._record("refresh", ("snapshot",), began, at, about, key=root)
        for name, seconds in phases.items():
            if name != TOTAL:
                ended = began + seconds
                self._record(name, root, began, ended, about, key=(*root, name))
                began = ended

    @contextmanager
    def task(self, name: str, phase: str, generation: int, **about: Any) -> Iterator[None]:
        """An embedder's task; `tracing.span` makes its parts."""
        parent = ("refresh", generation, phase)
        made = self._start(name, parent, None, {"realm.generation": generation, **about})
        if made is None:
            yield
            return
        with sys.modules[API].use_span(made, end_on_exit=True):
            yield

    def flipped(self, generation: int, began: float, at: float) -> None:
        """A gateway's part: it loaded the models and took the generation up. Unix times."""
        about = {"realm.generation": generation}
        self._record("gateway flip", ("refresh", generation, "flip"), began, at, about)

    def _record(
        self,
        name: str,
        parent: tuple[Any, ...] | None,
        began: float,
        ended: float,
        about: Attributes,
        key: tuple[Any, ...] | None = None,
    ) -> None:
        made = self._start(name, parent, round(began * 1e9), about, key)
        if made is not None:
            made.end(max(round(ended * 1e9), round(began * 1e9)))

    def _start(
        self,
        name: str,
        parent: tuple[Any, ...] | None,
        start_ns: int | None,
        about: Attributes,
        key: tuple[Any, ...] | None = None,
    ) -> Span | None:
        if not self.on():
            return None
        from opentelemetry import trace
        from opentelemetry.context import Context

        from realm.tracing.sdk import GIVEN_IDS, unsampled_tracer

        if (tracer := unsampled_tracer()) is None:
            return None
        number = int(self.trace_id, 16)
        context = Context()
        if parent is not None:
            above = trace.SpanContext(
                number,
                self._span_id(parent),
                is_remote=True,
                trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
            )
            context = trace.set_span_in_context(trace.NonRecordingSpan(above), context)
        given = GIVEN_IDS.set((number, self._span_id(key))) if key else None
        try:
            return tracer.start_span(
                name, context, start_time=start_ns, attributes={**self._about, **about}
            )
        finally:
            if given is not None:
                GIVEN_IDS.reset(given)

    def _span_id(self, key: tuple[Any, ...]) -> int:
        return _number(f"{self._seed} {key!r}", bits=64)


def _number(text: str, bits: int) -> int:
    """Never 0, which is no id."""
    digest = hashlib.sha256(f"realm refresh {text}".encode()).digest()
    return int.from_bytes(digest[: bits // 8], "big") or 1
