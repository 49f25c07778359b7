"""The status of the index as API messages, from the store and this process's memory."""

from __future__ import annotations

import time
from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from realm.corpus.parked import Parked
from realm.errors import NotFound
from realm.records.controls import damage_of
from realm.records.generation import Event, Generation, outcome
from realm.records.snapshots import Snapshot
from realm.records.states import State, phases_in
from realm.v1 import index_pb2, types_pb2
from services.indexer.build.build import Build, Memory
from services.indexer.context import CorpusReader, Records
from services.indexer.gateways import GatewayReports
from services.indexer.writes.replication import ReplicationState

PARKED_SHOWN = 100


@dataclass(slots=True)
class Status:
    """Reads only. Thread-safe."""

    records: Records
    corpus: CorpusReader
    replication: ReplicationState
    gateways: GatewayReports
    memory: Memory

    def now(self) -> index_pb2.IndexStatus:
        """:raises DependencyUnavailable: if store or corpus cannot be read."""
        status = index_pb2.IndexStatus(
            corpus_version=self.corpus.version(), paused=self.records.controls.paused()
        )
        snapshots = self.records.snapshots.all()
        if snapshots:
            status.newest_snapshot.CopyFrom(snapshot_message(snapshots[-1]))
        if (live := self._live(snapshots)) is not None:
            status.damage = damage_of(self.records.store, live.generation)
            live.damaged = bool(status.damage)
            live.corpus_version = 0 if live.damaged else live.corpus_version
            status.live.CopyFrom(live)
        if (build := self.memory.build or self.memory.flipping) is not None:
            status.refresh.CopyFrom(self._under_way(build))
        if (last := self._last(build.number if build else None)) is not None:
            status.last_refresh.CopyFrom(last)
        for report in self.gateways.all():
            status.gateways.add(
                gateway_id=report.gateway_id, generation=report.generation, ready=report.ready
            )
        parked = self.records.parked.all()
        status.parked_documents = len(parked)
        status.parked.extend(map(parked_message, parked[:PARKED_SHOWN]))
        return status

    def generations(self, limit: int, before: int) -> list[index_pb2.Generation]:
        """Those of smaller numbers than `before`, newest first, without those whose collection is
        deleted."""
        found: list[index_pb2.Generation] = []
        for number in reversed(self.records.generations.numbers()):
            if len(found) == limit:
                break
            if number >= before:
                continue
            events = self.records.generations.events(number)
            if not events or events[-1].state is State.DELETED:
                continue
            found.append(self._generation(self.records.generations.get(number), events))
        return found

    def generation(self, number: int) -> index_pb2.Generation:
        """:raises NotFound: if there is none of that number, or it was begun only just now."""
        found = self.records.generations.get(number)
        events = self.records.generations.events(number)
        if not events:
            raise NotFound(f"generation {number} is not begun yet", generation=number)
        return self._generation(found, events)

    def follow(self, operation: int) -> index_pb2.FollowRefreshResponse:
        """How far the generation is that a request for a refresh led to.

        :raises NotFound: if there is no such request.
        """
        newest = self.records.controls.refresh_request()
        if not 1 <= operation <= (newest.number if newest else 0):
            raise NotFound(f"nobody asked for refresh {operation}", operation=operation)
        for number in self.records.generations.numbers():
            generation = self.records.generations.get(number)
            if generation.request < operation:
                continue
            build = self.memory.build or self.memory.flipping
            if build is not None and build.number == number:
                return index_pb2.FollowRefreshResponse(refresh=self._under_way(build))
            if (ended := self._ended(generation)) is not None:
                return index_pb2.FollowRefreshResponse(refresh=ended, done=True)
            break
        return index_pb2.FollowRefreshResponse()

    def snapshot_of(self, number: int) -> int:
        """The number of a generation's snapshot.

        :raises NotFound: if there is no such generation, or its snapshot is gone.
        """
        return self.records.snapshots.get(self.records.generations.get(number).snapshot).number

    def _generation(self, generation: Generation, events: list[Event]) -> index_pb2.Generation:
        ended = outcome(events)
        return index_pb2.Generation(
            generation=generation.number,
            snapshot=self._snapshot(generation),
            state=state_value(events[-1].state),
            corpus_version=self.replication.applied_or_recorded(generation.number),
            created_at=timestamp(generation.created_at),
            gate=ended.report if ended else {},
            reason=_reason(ended),
            forced=generation.forced,
            words_alone=generation.words_alone,
        )

    def _live(self, snapshots: list[Snapshot]) -> types_pb2.IndexVersion | None:
        entry = self.records.generations.live()
        generation = self.records.generations.find(entry.generation) if entry else None
        if entry is None or generation is None:
            return None
        lag = generation.lag(snapshots)
        return types_pb2.IndexVersion(
            generation=generation.number,
            snapshot=generation.snapshot,
            step=generation.step,
            corpus_version=self.replication.applied_or_recorded(generation.number),
            lag_steps=lag.steps,
            lag=duration(lag.seconds(time.time())),
            live_since=timestamp(entry.at),
            words_alone=generation.words_alone,
        )

    def _under_way(self, build: Build) -> index_pb2.Refresh:
        state = self.records.generations.state(build.number) or State.BUILDING
        refresh = index_pb2.Refresh(
            generation=build.number,
            snapshot=snapshot_message(build.snapshot),
            state=state_value(state),
            started_at=timestamp(build.generation.created_at),
            shards_completed=len(build.embedded),
            shards_expected=len(build.generation.passage_files),
            phase_seconds=build.phase_seconds(time.time()),
        )
        if (left := _remaining(build, time.time())) is not None:
            refresh.remaining.CopyFrom(duration(left))
        return refresh

    def _last(self, but: int | None) -> index_pb2.Refresh | None:
        """The newest generation that went live, was rejected or abandoned."""
        for number in reversed(self.records.generations.numbers()):
            if number == but:
                continue
            if (ended := self._ended(self.records.generations.get(number))) is not None:
                return ended
        return None

    def _ended(self, generation: Generation) -> index_pb2.Refresh | None:
        """A refresh that went live, was rejected or abandoned; None of another."""
        events = self.records.generations.events(generation.number)
        if (ended := outcome(events)) is None:
            return None
        shards = len(generation.passage_files)
        return index_pb2.Refresh(
            generation=generation.number,
            snapshot=self._snapshot(generation),
            state=state_value(ended.state),
            started_at=timestamp(generation.created_at),
            shards_completed=shards if ended.state is not State.ABANDONED else 0,
            shards_expected=shards,
            phase_seconds=phases_of(events),
            reason=_reason(ended),
        )

    def _snapshot(self, generation: Generation) -> index_pb2.Snapshot:
        for snapshot in self.records.snapshots.all():
            if snapshot.number == generation.snapshot:
                return snapshot_message(snapshot)
        return index_pb2.Snapshot(number=generation.snapshot, step=generation.step)


def phases_of(events: list[Event]) -> dict[str, float]:
    """Seconds by phase, as recorded once the refresh had reached every gateway."""
    return {name: seconds for event in events for name, seconds in phases_in(event.report).items()}


def _reason(ended: Event | None) -> str:
    return ended.why if ended and ended.state is not State.LIVE else ""


def _remaining(build: Build, now: float) -> float | None:
    """Estimated seconds left to embed, from the rate since the build began; None: unknown."""
    done, expected = len(build.embedded), len(build.generation.passage_files)
    if not done or build.committed_at is not None:
        return None
    spent = (build.embedded_at or now) - build.generation.created_at
    return max(0.0, spent) / done * (expected - done)


def state_value(state: State) -> index_pb2.GenerationState:
    found: index_pb2.GenerationState = getattr(index_pb2, f"GENERATION_STATE_{state.name}")
    return found


def snapshot_message(snapshot: Snapshot) -> index_pb2.Snapshot:
    return index_pb2.Snapshot(
        number=snapshot.number, step=snapshot.step, published_at=timestamp(snapshot.created_at)
    )


def parked_message(parked: Parked) -> index_pb2.ParkedDocument:
    return index_pb2.ParkedDocument(
        document_id=parked.document_id,
        version=parked.version,
        reason=parked.why,
        parked_at=timestamp(parked.at),
    )


def timestamp(seconds: float) -> Timestamp:
    found = Timestamp()
    found.FromNanoseconds(round(seconds * 1e9))
    return found


def duration(seconds: float) -> Duration:
    found = Duration()
    found.FromNanoseconds(round(seconds * 1e9))
    return found
