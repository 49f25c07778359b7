"""How fast a GPU makes vectors by a model of BERT-base's size, and how near that is to what the
card's matrix products allow, beside sentence-transformers by the same weights in the same run.

Passages are given as word pieces, as embedders read them from the store. sentence-transformers is
asked twice: by its `encode`, which tokenizes first, and by its model alone, tokenized before.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from bench.claims import Claim, Result, at_least
from bench.datasets import any_dataset
from bench.embed.processor import operations
from bench.embed.sides import (
    LEAST_COSINE,
    LIBRARY_BATCH,
    Text,
    Turn,
    Vectors,
    by_library,
    exact,
    inputs_of,
    least_cosine,
    load_sentence_transformers,
    take_turns,
)
from bench.harness import Context
from realm.model.base import default_folder
from realm.model.bert import Bert
from realm.model.checkpoint import Model, new_model
from realm.model.config import BertShape
from realm.model.encoders import collate
from realm.model.frozen_encoder import FrozenEncoder
from realm.model.inputs import Encoded
from realm.model.runtime import best_dtype

FULL, NATURAL = "288 tokens each", "of their own lengths"
OURS = "realm"
LEAST_SHARE, TIMES_THE_BEST = 0.5, 1.0
#: Of the square product that the card's rate is measured by.
SIDE, PRODUCTS = 8192, 20
WARM_UP = 2000
#: Passages to a batch of sentence-transformers: its default, and one that fills the card.
LIBRARY_BATCHES = (LIBRARY_BATCH, 512)
COMPARED = 60


@dataclass(frozen=True, slots=True)
class Workload:
    """The same passages as texts and as word pieces."""

    texts: Sequence[Text]
    inputs: Sequence[Encoded]


Side = Callable[[Workload], Vectors]


@dataclass(frozen=True, slots=True)
class Observed:
    """`turns` by workload and side; `work` is a workload's operations, `rate` the
    card's a second; `memory` the most bytes that realm held."""

    card: str
    passages: int
    tokens: Mapping[str, int]
    work: Mapping[str, float]
    rate: float
    turns: Mapping[str, Mapping[str, Sequence[Turn]]]
    cosines: Mapping[str, float]
    beside_mean: Mapping[str, float]
    memory: int
    source: str


def observe(passages: int, rounds: int, context: Context, device: torch.device) -> Observed:
    """Sides take turns over each workload."""
    data = any_dataset(context.seed)
    folder = bert_base_folder(context.folder / "bert-base", default_folder(), context.seed)
    model = new_model(folder, starter=False)
    texts = [Text(one.title, one.text) for one in data.documents]
    workloads = {
        FULL: workload(model, longer_than_any_input(texts), passages),
        NATURAL: workload(model, texts, passages),
    }
    encoder = model.retriever.passage.eval().to(device)
    frozen = FrozenEncoder(encoder, model.inputs.pad, best_dtype(device))
    ours: dict[str, Side] = {OURS: lambda given: frozen.encode(given.inputs)}
    library = load_sentence_transformers(
        folder, device, best_dtype(device), model.config.lengths.passage
    )
    sides = ours | (library_sides(library, device) if library is not None else {})
    compared = workload(model, texts, COMPARED)
    expected = exact(model, compared.inputs)
    vectors = {name: side(compared) for name, side in sides.items()}
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    frozen.encode(workloads[FULL].inputs[:WARM_UP])
    memory = torch.cuda.max_memory_allocated(device) - before
    lengths = {name: [len(one) for one in given.inputs] for name, given in workloads.items()}
    return Observed(
        card=torch.cuda.get_device_name(device),
        passages=passages,
        tokens={name: sum(own) for name, own in lengths.items()},
        work={name: operations(model.config.base, own) for name, own in lengths.items()},
        rate=square_rate(device, best_dtype(device)),
        turns={name: _warm_turns(sides, given, rounds) for name, given in workloads.items()},
        cosines={name: least_cosine(made, expected) for name, made in vectors.items()},
        beside_mean={
            name: least_cosine(*beside_mean(made, expected)) for name, made in vectors.items()
        },
        memory=memory,
        source=data.source,
    )


def bert_base_folder(folder: Path, template: Path, seed: int) -> Path:
    """A model of BERT-base's shape with fresh weights and the template's tokenizer, in
    sentence-transformers' layout: no hub is needed to learn how fast it is."""
    shutil.copytree(template, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.bin"))
    shape = BertShape()
    values = json.loads((folder / "config.json").read_text())
    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    values |= {name: getattr(shape, name) for name in sizes}
    (folder / "config.json").write_text(json.dumps(values))
    pooling = folder / "1_Pooling" / "config.json"
    changed = json.loads(pooling.read_text()) | {"word_embedding_dimension": shape.hidden_size}
    pooling.write_text(json.dumps(changed))
    torch.manual_seed(seed)
    save_file(Bert(shape).state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def workload(model: Model, texts: Sequence[Text], passages: int) -> Workload:
    """So many passages of these texts, which begin anew where they run out."""
    known = dict(zip(texts[:passages], inputs_of(model.inputs, texts[:passages]), strict=True))
    chosen = list(islice(cycle(known), passages))
    return Workload(chosen, [known[one] for one in chosen])


def longer_than_any_input(texts: Sequence[Text]) -> list[Text]:
    """Each text with the next ones behind it, so that it is longer than any input."""
    bodies = [one.body for one in texts]
    return [
        Text(one.title, " ".join(islice(cycle(bodies), at, at + 6))) for at, one in enumerate(texts)
    ]


def library_sides(library: Any, device: torch.device) -> dict[str, Side]:
    """Of a model of sentence-transformers."""
    sides: dict[str, Side] = {}
    for size in LIBRARY_BATCHES:
        name = f"sentence-transformers, {size} at once"
        sides[f"{name}, from texts"] = partial(_from_texts, library, size)
        sides[f"{name}, tokenized"] = partial(_by_library_model, library, size, device)
    return sides


def _from_texts(library: Any, size: int, given: Workload) -> Vectors:
    return by_library(library, given.texts, size)


@torch.inference_mode()
def _by_library_model(model: Any, size: int, device: torch.device, given: Workload) -> Vectors:
    """Longest first, as `encode` does; nothing is waited for before the end."""
    order = sorted(range(len(given.inputs)), key=lambda i: -len(given.inputs[i]))
    made = []
    for start in range(0, len(order), size):
        batch = [given.inputs[i] for i in order[start : start + size]]
        ids, segments, mask = (part.to(device, non_blocking=True) for part in collate(batch, 0))
        features = {"input_ids": ids, "token_type_ids": segments, "attention_mask": mask.long()}
        made.append(model.forward(features)["sentence_embedding"].float())
    found = torch.cat(made).cpu().numpy()  # [inputs, size], longest first
    vectors = np.empty_like(found)
    vectors[order] = found
    return vectors


def square_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a large square product, the best of several."""
    one, other = (torch.randn(SIDE, SIDE, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(PRODUCTS):
        torch.cuda.synchronize(device)
        began = time.perf_counter()
        one @ other
        torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began)
    return 2 * SIDE**3 / best


def beside_mean(vectors: Vectors, expected: Vectors) -> tuple[Vectors, Vectors]:
    """Rows [n, size], each less what all share: fresh weights make vectors much alike."""
    shared = expected.mean(axis=0)  # [size]
    return vectors - shared, expected - shared


def _warm_turns(sides: Mapping[str, Side], given: Workload, rounds: int) -> dict[str, list[Turn]]:
    for side in sides.values():
        side(Workload(given.texts[:WARM_UP], given.inputs[:WARM_UP]))
    return take_turns(sides, given, rounds)


def judge(observed: Observed) -> Result:
    seconds = {
        name: {side: median(turn.seconds for turn in own) for side, own in sides.items()}
        for name, sides in observed.turns.items()
    }
    rates = {
        name: {side: observed.passages / each for side, each in sides.items()}
        for name, sides in seconds.items()
    }
    share = {
        name: observed.work[name] / sides[OURS] / observed.rate for name, sides in seconds.items()
    }
    figures = {
        "gpu": observed.card,
        "model": "of BERT-base's shape, fresh weights",
        "texts": observed.source,
        "passages": observed.passages,
        "tokens": dict(observed.tokens),
        "matrix_tflops": round(observed.rate / 1e12),
        "share_of_matrix_rate": {name: round(each, 3) for name, each in share.items()},
        "passages_a_second": {
            name: {side: round(each) for side, each in own.items()} for name, own in rates.items()
        },
        "least_cosine": {name: round(each, 5) for name, each in observed.cosines.items()},
        "least_cosine_beside_mean": {n: round(c, 5) for n, c in observed.beside_mean.items()},
        "mib_of_the_card_to_encode": observed.memory >> 20,
    }
    return Result(figures, _claims(observed, share[FULL], rates[FULL]))


def _claims(observed: Observed, share: float, rates: Mapping[str, float]) -> list[Claim]:
    claims = [
        at_least(
            "least cosine of a vector with that in float32", observed.cosines[OURS], LEAST_COSINE
        ),
        at_least(f"share of the card's rate of a square product, {FULL}", share, LEAST_SHARE),
    ]
    others = {name: rate for name, rate in rates.items() if name != OURS}
    if others:
        best = max(others, key=others.__getitem__)
        times = rates[OURS] / others[best]
        claims.append(at_least(f"times the best of the others, {best}", times, TIMES_THE_BEST))
    return claims
