"""Processes are killed, stopped and restarted; Redis forgets everything."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Sequence

from redis import Redis
from redis.exceptions import RedisError

from bench.chaos.faults.kinds import Effects, FaultKind, LastingFault
from bench.chaos.phases import PHASES
from realm.records.leaders import Leaders

AIM_POLL_SECONDS = 0.01


class Kill(FaultKind, name="kill", weight=42):
    """A random process with its children; or, while no kill has hit some phase of a refresh, the
    process at work in it."""

    def targets(self) -> Sequence[str]:
        return self.scene.names()

    def choose(self, rng: random.Random) -> str:
        hit = {each.phase for each in self.scene.faults if each.kind == self.name}
        wanted = [phase for phase in PHASES if phase not in hit]
        if wanted and (aim := rng.choice(wanted)) and self._await_phase(aim):
            return self._worker_of(aim, rng) or super().choose(rng)
        return super().choose(rng)

    def begin(self, target: str, rng: random.Random) -> Effects | None:
        hit = self.scene.signal(target, signal.SIGKILL)
        return Effects(processes=frozenset({target})) if hit else None

    def _await_phase(self, wanted: str) -> bool:
        deadline = time.monotonic() + self.scene.aim_seconds
        while self.scene.phase() != wanted:
            if time.monotonic() > deadline:
                return False
            time.sleep(AIM_POLL_SECONDS)
        return True

    def _worker_of(self, phase: str, rng: random.Random) -> str:
        cluster = self.scene.cluster.cluster
        if phase == "embed":
            return "embedder"
        if phase == "flip":
            return rng.choice(cluster.gateway_names)
        if phase not in ("load", "validate"):
            return ""
        term, names = Leaders(self.scene.store).newest(), cluster.indexer_names
        leads = (name for name in names if term and cluster.address(name) == term.address)
        return next(leads, names[0])


class Stop(LastingFault, name="stop", weight=18, lasts=(1.0, 120.0)):
    """Suspends a process with its children, then continues it."""

    def targets(self) -> Sequence[str]:
        return self.scene.names()

    def begin(self, target: str, rng: random.Random) -> Effects | None:
        hit = self.scene.signal(target, signal.SIGSTOP)
        return Effects(processes=frozenset({target})) if hit else None

    def end(self, target: str) -> None:
        self.scene.signal(target, signal.SIGCONT)


class RestartQdrant(FaultKind, name="restart_qdrant", weight=7):
    def targets(self) -> Sequence[str]:
        return ["qdrant"]

    def begin(self, target: str, rng: random.Random) -> Effects | None:
        hit = self.scene.signal(target, signal.SIGTERM)
        return Effects(processes=frozenset({target})) if hit else None


class WipeRedis(FaultKind, name="wipe_redis", weight=9):
    def targets(self) -> Sequence[str]:
        return ["redis"]

    def begin(self, target: str, rng: random.Random) -> Effects | None:
        redis = Redis.from_url(self.scene.cluster.redis_url, socket_timeout=2)
        try:
            redis.flushall()
        except RedisError:
            return None
        finally:
            redis.close()
        return Effects()
