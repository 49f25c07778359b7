"""What a schedule begins with: the store and Qdrant, and what is alike in all schedules."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers

from bench.simulation.happenings import LEASE_SECONDS
from bench.simulation.oracle import Oracle
from bench.simulation.qdrant import Qdrant
from bench.simulation.storage import Disk
from realm.model.inputs import InputBuilder, InputLimits
from realm.settings import Settings, load_settings

RETIREMENT_SECONDS = 60.0


@cache
def settings(*, words_first: bool) -> Settings:
    """Pauses are long where nothing happens in them: each costs real time."""
    return load_settings(
        store_url="simulated://store",
        redis_url="redis://simulated",
        lease_seconds=LEASE_SECONDS,
        retirement_seconds=RETIREMENT_SECONDS,
        reconcile_seconds=4.0,
        verify_seconds=0.3,
        shard_seconds=0.03,
        request_again_seconds=2.0,
        work_silence_seconds=2.0,
        write_group_seconds=0.0,
        gate_probes=0,
        live_poll_seconds=4.0,
        words_first=words_first,
    )


@cache
def inputs() -> InputBuilder:
    """A tokenizer of a handful of words: what documents say does not matter here."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "word"]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return InputBuilder(tokenizer, InputLimits(passage=4096, title=16, query=32, reader=64))


@cache
def fingerprint() -> str:
    return inputs().fingerprint


@cache
def snapshot_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="realm-simulation-"))
    (folder / "config.json").write_text("{}")
    return folder


@dataclass
class Ground:
    """What a schedule begins with."""

    disk: Disk
    qdrant: Qdrant
    oracle: Oracle

    @classmethod
    def empty(cls) -> Ground:
        disk, qdrant = Disk(), Qdrant()
        return cls(disk, qdrant, Oracle(disk, qdrant))

    def copy(self) -> Ground:
        disk, qdrant = self.disk.copy(), self.qdrant.copy()
        return Ground(disk, qdrant, self.oracle.copy(disk, qdrant))
