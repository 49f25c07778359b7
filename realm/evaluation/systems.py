"""What is under evaluation: base, snapshot or trained model, and what ranks its passages."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import torch

from realm.errors import Corrupt, InvalidInput, NotFound
from realm.model.checkpoint import Model, load_model
from realm.model.cross_encoder import CrossEncoder
from realm.model.frozen_encoder import FrozenEncoder
from realm.model.inputs import InputBuilder
from realm.model.publishing import load_source
from realm.model.reader import Reader
from realm.model.relevance import Relevance
from realm.records.snapshots import Snapshot, Snapshots
from realm.records.store import Store
from realm.retrieval import Retrieval
from realm.settings import Settings

NEWEST = "latest"
#: What such a folder says of its making, beside the files of a model.
CARD_FILE = "training.json"


class Baseline(StrEnum):
    """The base's model, by what ranks its passages: names of `realm eval --system`."""

    BASE = "base"
    BM25 = "bm25"
    HYBRID = "hybrid"
    RANK_FUSION = "rank_fusion"

    @property
    def retrieval(self) -> Retrieval:
        return Retrieval.DENSE if self is Baseline.BASE else Retrieval(self)


class Recipe(StrEnum):
    """ict: inverse cloze alone (ORQA). dpr: questions, in-batch and hard negatives. realm: masked
    LM over a refreshed index, after a warm start by inverse cloze. open-qa: REALM's fine-tuning,
    the query encoder alone, by questions and answers over an index that stays.
    """

    ICT = "ict"
    DPR = "dpr"
    REALM = "realm"
    OPEN_QA = "open-qa"


@dataclass(frozen=True, slots=True)
class System:
    """Both towers, reader, s and w of one set of parameters, in eval mode on one device.

    `retrieval` ranks the passages, and the cross-encoder, or else the reader, the best `rerank` of
    them once more; p(z|x) and the answers are the model's in any case.
    """

    name: str
    base: str
    step: int
    inputs: InputBuilder
    passage: FrozenEncoder
    query: FrozenEncoder
    reader: Reader
    relevance: Relevance
    dtype: torch.dtype
    retrieval: Retrieval = Retrieval.DENSE
    rerank: int = 0
    cross_encoder: CrossEncoder | None = None


def base_system(settings: Settings, device: torch.device, dtype: torch.dtype) -> System:
    """What a trainer of these settings publishes at step 0.

    :raises RealmError: if the base cannot be had.
    """
    model = load_source(settings.model.base_model, settings)
    return make_system(model, "base", 0, device, dtype)


def snapshot_system(
    snapshots: Snapshots, snapshot: Snapshot, device: torch.device, dtype: torch.dtype
) -> System:
    """:raises Corrupt: if a file of the snapshot is missing or altered."""
    model = load_model(snapshots.materialise(snapshot))
    return make_system(model, f"snapshot-{snapshot.number}", snapshot.step, device, dtype)


def trained_system(
    recipe: Recipe, folder: Path | None, device: torch.device, dtype: torch.dtype
) -> System:
    """The model in the folder, under the recipe's name.

    :raises InvalidInput: if there is no folder, or its model was made by another recipe.
    :raises Corrupt: if a file is missing or does not fit.
    """
    if folder is None or not folder.is_dir():
        missing = "no --model is given" if folder is None else f"there is no folder {folder}"
        raise InvalidInput(
            f"{recipe} is a model that has to be trained first, and {missing}: make it with `realm"
            f" model train-retriever --recipe {recipe} --documents FILE --to FOLDER`, then give"
            " --model FOLDER"
        )
    made_by, steps = _read_card(folder / CARD_FILE)
    if made_by != recipe:
        raise InvalidInput(
            f"the model in {folder} was made by the recipe {made_by}, not {recipe}: give --system"
            f" {made_by}, or another --model"
        )
    return make_system(load_model(folder), recipe.value, steps, device, dtype)


def make_system(
    model: Model, name: str, step: int, device: torch.device, dtype: torch.dtype
) -> System:
    retriever, pad = model.retriever, model.inputs.pad
    passage = FrozenEncoder(retriever.passage.to(device).eval(), pad, dtype)
    query = passage
    if not model.config.shared_towers:
        query = FrozenEncoder(retriever.query.to(device).eval(), pad, dtype)
    return System(
        name=name,
        base=model.config.base_name,
        step=step,
        inputs=model.inputs,
        passage=passage,
        query=query,
        reader=model.reader.to(device).eval(),
        relevance=retriever.relevance,
        dtype=dtype,
        cross_encoder=model.cross_encoder and model.cross_encoder.to(device),
    )


def find_snapshot(store: Store, wanted: str) -> tuple[Snapshots, Snapshot]:
    """:param wanted: a number, or `latest`.

    :raises NotFound: if there is no such snapshot.
    """
    snapshots = Snapshots(store)
    if wanted != NEWEST:
        return snapshots, snapshots.get(int(wanted))
    newest = snapshots.newest()
    if newest is None:
        raise NotFound(f"the store {store.url} has no snapshot yet: start a trainer on it first")
    return snapshots, newest


def _read_card(file: Path) -> tuple[str, int]:
    """By which recipe, and in how many steps."""
    try:
        card = json.loads(file.read_bytes())
        return str(card["recipe"]), sum(int(phase["steps"]) for phase in card["phases"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Corrupt(
            f"{file} does not say how this model was trained: give a folder that `realm model"
            " train-retriever` wrote",
            file=file,
        ) from error
