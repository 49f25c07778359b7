"""What makes vectors of texts: realm's own encoder, and what else a user might run; how they take
turns, and what they are compared with."""

from __future__ import annotations

import importlib
import importlib.util
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from bench.datasets import any_dataset, distractors
from realm.model.base import default_folder
from realm.model.checkpoint import Model, new_model
from realm.model.encoders import collate, plan_batches
from realm.model.frozen_encoder import FrozenEncoder
from realm.model.inputs import Encoded, InputBuilder

Vectors = NDArray[np.float32]
Given = TypeVar("Given")

CPU = torch.device("cpu")
LEAST_COSINE = 0.999
#: What sentence-transformers encodes at once unless it is told.
LIBRARY_BATCH = 32
#: Padded tokens of a batch: as realm's own.
OPENVINO_TOKENS = 2048


@dataclass(frozen=True, slots=True)
class Text:
    """What a passage's vector is made of."""

    title: str
    body: str


@dataclass(frozen=True, slots=True)
class Turn:
    """One side over all passages: seconds by the clock, and of the process's processor time."""

    seconds: float
    processor: float


#: Texts in, vectors [texts, size] out; tokenizing is part of it.
Side = Callable[[Sequence[Text]], Vectors]


def passages(seed: int, count: int) -> tuple[str, list[Text]]:
    """Where they are from, and so many of them; if they run out, they begin anew."""
    data = any_dataset(seed)
    known = (Text(one.title, one.text) for one in (*data.documents, *distractors()))
    return data.source, list(islice(cycle(known), count))


def realm_sides(dtype: torch.dtype) -> dict[str, Side]:
    """By what is best here and, if that is something else, in float32."""
    model = new_model()
    encoder = model.retriever.passage.eval()
    formats = dict.fromkeys((dtype, torch.float32))
    return {
        f"realm {_name(each)}": partial(
            _by_realm, model.inputs, FrozenEncoder(encoder, model.inputs.pad, each)
        )
        for each in formats
    }


def sentence_transformers_sides(dtype: torch.dtype) -> dict[str, Side]:
    """Its default `encode`; none where it is not installed."""
    longest = new_model().config.lengths.passage
    sides: dict[str, Side] = {}
    for each in dict.fromkeys((torch.float32, dtype)):
        model = load_sentence_transformers(default_folder(), CPU, each, longest)
        if model is not None:
            sides[f"sentence-transformers {_name(each)}"] = partial(by_library, model)
    return sides


def load_sentence_transformers(
    folder: Path, device: torch.device, dtype: torch.dtype, longest: int
) -> Any:
    """Its model of a folder, which cuts texts at `longest` word pieces; None where it is not
    installed."""
    if importlib.util.find_spec("sentence_transformers") is None:
        return None
    library = importlib.import_module("sentence_transformers")
    model = library.SentenceTransformer(str(folder), device=str(device)).to(dtype)
    model.max_seq_length = longest
    return model


def openvino_sides(dtype: torch.dtype) -> dict[str, Side]:
    """The same weights compiled by OpenVINO, batches of like length; none without it."""
    if importlib.util.find_spec("openvino") is None:
        return {}
    openvino = importlib.import_module("openvino")
    model = new_model()
    encoder = model.retriever.passage.eval()
    example = collate([model.inputs.query("why"), model.inputs.query("why is it so")], 0)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it traces by what torch calls deprecated
        converted = openvino.convert_model(encoder, example_input=example)
    hints = {
        "INFERENCE_PRECISION_HINT": "bf16" if dtype == torch.bfloat16 else "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    compiled = openvino.Core().compile_model(converted, "CPU", hints)
    return {f"OpenVINO {_name(dtype)}": partial(_by_openvino, model.inputs, compiled)}


def exact(model: Model, inputs: Sequence[Encoded]) -> Vectors:
    """In float32 by the encoder that training uses, where that is, an input at a time."""
    encoder = model.retriever.passage.eval()
    with torch.inference_mode():
        rows = [
            encoder(*(part.to(encoder.device) for part in collate([one], model.inputs.pad)))[0]
            for one in inputs
        ]
    return torch.stack(rows).cpu().numpy()


def take_turns(
    sides: Mapping[str, Callable[[Given], Vectors]], given: Given, rounds: int
) -> dict[str, list[Turn]]:
    """Each side's, in rounds."""
    turns: dict[str, list[Turn]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            began, used = time.perf_counter(), time.process_time()
            side(given)
            turns[name].append(Turn(time.perf_counter() - began, time.process_time() - used))
    return turns


def least_cosine(vectors: Vectors, expected: Vectors) -> float:
    """Of rows [n, size] with rows [n, size]."""
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(expected, axis=1)
    return float(((vectors * expected).sum(axis=1) / lengths).min())


def _by_realm(inputs: InputBuilder, encoder: FrozenEncoder, texts: Sequence[Text]) -> Vectors:
    return encoder.encode(inputs_of(inputs, texts))


def by_library(model: Any, texts: Sequence[Text], at_once: int = LIBRARY_BATCH) -> Vectors:
    pairs = [[one.title, one.body] for one in texts]
    found: torch.Tensor = model.encode(
        pairs, batch_size=at_once, show_progress_bar=False, convert_to_tensor=True
    )
    return found.float().cpu().numpy()


def _by_openvino(inputs: InputBuilder, compiled: Any, texts: Sequence[Text]) -> Vectors:
    given = inputs_of(inputs, texts)
    vectors: list[Vectors] = [np.empty(0, np.float32)] * len(given)
    for batch in plan_batches([len(one) for one in given], OPENVINO_TOKENS):
        tensors = collate([given[row] for row in batch], inputs.pad)
        made = compiled([each.numpy() for each in tensors])[0]
        for row, vector in zip(batch, made, strict=True):
            vectors[row] = vector
    return np.array(vectors)


def inputs_of(inputs: InputBuilder, texts: Sequence[Text]) -> list[Encoded]:
    return [
        inputs.passage(inputs.title_ids(one.title), inputs.tokenize(one.body)[0]) for one in texts
    ]


def _name(dtype: torch.dtype) -> str:
    return {torch.float32: "float32", torch.bfloat16: "bfloat16"}[dtype]
