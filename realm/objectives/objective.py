"""What an objective is, and the registry of all that there are.

An objective lives in one module of this package: its class names itself
(`class DPR(Objective[...], name="dpr")`) and builds itself from an `ObjectiveSetup`.
"""

from __future__ import annotations

import pkgutil
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor

from realm import objectives
from realm.corpus.passages import Passage
from realm.errors import BadSettings
from realm.model.checkpoint import Model
from realm.model.encoders import collate
from realm.model.inputs import Encoded
from realm.objectives.candidates import TrainingSearch
from realm.objectives.sources import Questions
from realm.settings import Settings
from realm.settings.objectives import Mixture
from realm.text.salient_spans import SpanTagger

BatchT = TypeVar("BatchT")


@dataclass(frozen=True, slots=True)
class Loss:
    """`value` [] is what to minimise; `figures` are plain numbers about the batch."""

    value: Tensor
    figures: dict[str, float]


@dataclass(frozen=True, slots=True)
class ObjectiveSetup:
    """What objectives are built from."""

    settings: Settings
    model: Model
    search: TrainingSearch
    tagger: SpanTagger
    questions: Questions


class Objective(ABC, Generic[BatchT]):
    """One way to learn: passages and chance become a batch, a batch and a model a loss.

    `skipped` counts, by reason, what was drawn and not used. `from_questions`: it learns from
    `REALM_TRAIN_QUESTIONS`. `teaches_reader`: an auxiliary language model may go beside it.
    """

    name: str
    skipped: Counter[str]
    from_questions: ClassVar[bool] = False
    teaches_reader: ClassVar[bool] = False

    def __init_subclass__(cls, *, name: str = "", **others: Any) -> None:
        super().__init_subclass__(**others)
        if name:
            cls.name = name
            _REGISTERED[name] = cls

    @classmethod
    def build(cls, setup: ObjectiveSetup) -> Self:
        """The objective that the settings ask for."""
        raise NotImplementedError

    @property
    def needs_index(self) -> bool:
        """Whether `batch` searches, and fails where nothing can be searched."""
        return True

    @abstractmethod
    def batch(self, passages: Iterator[Passage], rng: random.Random) -> BatchT:
        """Draws passages until a batch is whole; never one of a held-out document.

        :raises NotReady: if the passages hold too little of use.
        """

    @abstractmethod
    def loss(self, batch: BatchT, model: Model) -> Loss: ...

    def state(self) -> dict[str, Any]:
        """What must survive a restart, as JSON values."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Continues from a `state`."""


_REGISTERED: dict[str, type[Objective[Any]]] = {}


def all_objectives() -> dict[str, type[Objective[Any]]]:
    """The objectives of this package by name."""
    for module in pkgutil.iter_modules(objectives.__path__, f"{objectives.__name__}."):
        import_module(module.name)
    return _REGISTERED


def chosen_objectives(settings: Settings) -> list[type[Objective[Any]]]:
    """Those with a weight in REALM_OBJECTIVES, in its order.

    :raises BadSettings: naming one that there is not.
    """
    known = all_objectives()
    chosen = Mixture.parse(settings.objectives.objectives).names
    if unknown := [name for name in chosen if name not in known]:
        raise BadSettings(
            f"REALM_OBJECTIVES: there is no objective {', '.join(unknown)}; choose among"
            f" {', '.join(sorted(known))}"
        )
    return [known[name] for name in chosen]


def make_objectives(setup: ObjectiveSetup) -> list[Objective[Any]]:
    """The chosen objectives. :raises BadSettings: as `chosen_objectives`."""
    return [chosen.build(setup) for chosen in chosen_objectives(setup.settings)]


def tensors(
    inputs: Sequence[Encoded], pad_id: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, segments and mask of inputs, each [batch, tokens], on the device."""
    ids, segments, mask = collate(inputs, pad_id)
    return ids.to(device), segments.to(device), mask.to(device)
