"""Systems of the literature under evaluation: models that `realm model train-retriever` wrote."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path

import torch

from realm.errors import Corrupt, InvalidInput
from realm.evaluation.systems import System, system_of
from realm.model.checkpoint import load_model

#: What such a folder says of its making, beside the files of a model.
CARD_FILE = "training.json"


class Recipe(StrEnum):
    """ict: inverse cloze alone (ORQA). dpr: questions, in-batch and hard negatives. realm: masked
    LM over a refreshed index, after a warm start by inverse cloze. open-qa: REALM's fine-tuning,
    the query encoder alone, by questions and answers over an index that stays.
    """

    ICT = "ict"
    DPR = "dpr"
    REALM = "realm"
    OPEN_QA = "open-qa"


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
    made_by, steps = _card(folder / CARD_FILE)
    if made_by != recipe:
        raise InvalidInput(
            f"the model in {folder} was made by the recipe {made_by}, not {recipe}: give --system"
            f" {made_by}, or another --model"
        )
    return system_of(load_model(folder), recipe.value, steps, device, dtype)


def _card(file: Path) -> tuple[str, int]:
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
