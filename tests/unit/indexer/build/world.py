"""What the state machine of a lifecycle's tests keeps in place of store, Qdrant and memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from realm.records.states import State
from services.indexer.build.lifecycle import Verdict


@dataclass
class Index:
    """A generation in the world: what the store and Qdrant hold of it."""

    snapshot: int
    request: int
    replaces: int
    state: State | None = None
    since: float = 0.0
    corpus_version: int = 0
    applied: int = 0
    embedded: set[str] = field(default_factory=set)
    probes: bool = False
    collection: bool = False
    damaged: bool = False
    why: str = ""
    words_alone: bool = False


@dataclass
class Remembered:
    """What the process knows of the candidate; lost with it."""

    generation: int = 0
    prepared: bool = False
    loaded: set[str] = field(default_factory=set)
    optimised: bool = False
    replicating: bool = False
    applied: int = 0
    verdict: Verdict | None = None
