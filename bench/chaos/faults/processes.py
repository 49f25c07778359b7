"""Processes are killed, stopped, slowed and restarted; Redis forgets everything."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Sequence

import psutil
from redis import Redis
from redis.exceptions import RedisError

from bench.chaos.faults.kinds import Effects, FaultKind, LastingFault
from bench.chaos.phases import PHASES
from bench.chaos.scene import Scene

AIM_POLL_SECONDS = 0.01
#: How long a leader that was suspended may still act before it is killed.
LONGEST_AWAKE_SECONDS = 1.0
RUNNING_SECONDS = 0.05
SLOWER = 20


class Kill(FaultKind, name="kill", weight=42):
    """A random process with its children; or, while no kill has hit some phase of a refresh, the
    process at work in it."""

    aims_at_a_phase = True

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
        return self.scene.leader() if phase in ("load", "validate") else ""


class OutOfMemory(FaultKind, name="oom_kill", weight=8):
    """As the kernel does it: of a service's processes the biggest is killed, and no other."""

    def targets(self) -> Sequence[str]:
        return self.scene.names()

    def begin(self, target: str, rng: random.Random) -> Effects | None:
        try:
            biggest = max(self.scene.family(target), key=lambda each: each.memory_info().rss)
            biggest.kill()
        except (ValueError, psutil.Error):
            return None
        return Effects(processes=frozenset({target}))


class KillInDoubt(LastingFault, name="kill_in_doubt", weight=4, lasts=(6.0, 20.0)):
    """The leader dies, and nobody can know: it is suspended until its lease has run out, as a
    machine that is cut off, then killed; half the time it first wakes for a moment."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._awake: dict[str, float] = {}

    def targets(self) -> Sequence[str]:
        return [leader] if (leader := self.scene.leader()) else []

    def begin(self, target: str, rng: random.Random) -> Effects | None:
        self._awake[target] = rng.choice((0.0, rng.uniform(0.0, LONGEST_AWAKE_SECONDS)))
        hit = self.scene.signal(target, signal.SIGSTOP)
        return Effects(processes=frozenset({target})) if hit else None

    def end(self, target: str) -> None:
        if awake := self._awake.pop(target):
            self.scene.signal(target, signal.SIGCONT)
            time.sleep(awake)
        self.scene.signal(target, signal.SIGKILL)


class SlowEmbedder(LastingFault, name="slow_embedder", weight=6, lasts=(20.0, 120.0)):
    """An embedder gets a twentieth of its time: a shard takes longer than it may be silent for."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._ending: dict[str, tuple[threading.Event, threading.Thread]] = {}

    def targets(self) -> Sequence[str]:
        return [name for name in self.scene.names() if name.startswith("embedder")]

    def begin(self, target: str, rng: random.Random) -> Effects | None:
        ended = threading.Event()
        thread = threading.Thread(target=self._slow, args=(target, ended), daemon=True)
        self._ending[target] = ended, thread
        thread.start()
        return Effects(processes=frozenset({target}))

    def end(self, target: str) -> None:
        ended, thread = self._ending.pop(target)
        ended.set()
        thread.join()
        self.scene.signal(target, signal.SIGCONT)

    def _slow(self, target: str, ended: threading.Event) -> None:
        while not ended.wait(RUNNING_SECONDS):
            self.scene.signal(target, signal.SIGSTOP)
            ended.wait(RUNNING_SECONDS * (SLOWER - 1))
            self.scene.signal(target, signal.SIGCONT)


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
