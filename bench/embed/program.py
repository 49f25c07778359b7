"""How fast passages become vectors, beside sentence-transformers and OpenVINO in the same run, and
how near that is to what the processor's matrix products allow.

Sides take turns over the same texts, so that other load on the machine hits all of them alike;
figures are medians of the turns. A side that is not installed is left out, and named.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch

from bench.claims import Claim, Result, at_least, at_most
from bench.embed import card
from bench.embed.processor import matrix_rate, operations
from bench.embed.scale import Volume, gain_of_a_second_worker, volumes
from bench.embed.sides import (
    LEAST_COSINE,
    Turn,
    exact,
    inputs_of,
    least_cosine,
    openvino_sides,
    passages,
    realm_sides,
    sentence_transformers_sides,
    take_turns,
)
from bench.harness import Bench, Context
from realm.model.checkpoint import new_model
from realm.model.runtime import best_dtype, has_amx, pick_device, set_threads

#: Passages whose vectors are compared with those in float32, and that warm every side up.
COMPARED = 60
OURS, DEFAULT = "realm", "sentence-transformers float32"
TIMES_DEFAULT, TIMES_BEST = 3.0, 1.25
#: Passages at a time in which neither rate nor memory may differ by more than this share.
VOLUMES, MOST_APART = (500, 2000, 8000), 0.1
LEAST_GAIN = 1.9
#: Of the rate of matrix products: where that is high, the rest takes a larger share of the time.
LEAST_SHARE, LEAST_SHARE_AMX = 0.75, 0.35


@dataclass(frozen=True, slots=True)
class Parameters:
    """`passages` to a turn. `judge_speed`: a turn is long enough to claim something by, and how
    rate and memory depend on the number of passages and workers is looked at too. `device` is as
    in realm's settings."""

    passages: int
    rounds: int
    threads: int
    judge_speed: bool
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class Observed:
    """`cosines` are the least of each side; `work` the operations of a turn; `rate` operations a
    second; `load` of the machine before and after."""

    turns: dict[str, list[Turn]]
    cosines: dict[str, float]
    missing: list[str]
    tokens: int
    work: float
    rate: float
    amx: bool
    load: tuple[float, float]
    source: str
    volumes: dict[int, Volume]
    gain: float | None


def observe(parameters: Parameters, context: Context) -> Observed | card.Observed:
    set_threads(parameters.threads)
    if (device := pick_device(parameters.device)).type == "cuda":
        return card.observe(parameters.passages, parameters.rounds, context, device)
    return _observe_processor(parameters, context)


def _observe_processor(parameters: Parameters, context: Context) -> Observed:
    dtype = best_dtype(torch.device("cpu"))
    source, texts = passages(context.seed, parameters.passages)
    model = new_model()
    inputs = inputs_of(model.inputs, texts)
    lengths = [len(one) for one in inputs]
    load = os.getloadavg()[0]
    groups = {
        "realm": realm_sides(dtype),
        "sentence-transformers": sentence_transformers_sides(dtype),
        "OpenVINO": openvino_sides(dtype),
    }
    sides = {name: side for found in groups.values() for name, side in found.items()}
    expected = exact(model, inputs[:COMPARED])
    cosines = {name: least_cosine(side(texts[:COMPARED]), expected) for name, side in sides.items()}
    rate = matrix_rate(model.config.base, dtype)
    turns = take_turns(sides, texts, parameters.rounds)
    ours = next(iter(groups["realm"].values()))
    more = parameters.judge_speed
    return Observed(
        turns=turns,
        cosines=cosines,
        missing=[name for name, found in groups.items() if not found],
        tokens=sum(lengths),
        work=operations(model.config.base, lengths),
        rate=max(rate, matrix_rate(model.config.base, dtype)),
        amx=has_amx() and dtype == torch.bfloat16,
        load=(load, os.getloadavg()[0]),
        source=source,
        volumes=volumes(ours, texts, VOLUMES) if more else {},
        gain=gain_of_a_second_worker(texts, dtype) if more else None,
    )


def judge(parameters: Parameters, observed: Observed | card.Observed) -> Result:
    if isinstance(observed, card.Observed):
        return card.judge(observed)
    ours = next(name for name in observed.turns if name.startswith(OURS))
    seconds = {name: median(t.seconds for t in own) for name, own in observed.turns.items()}
    processor = {name: median(t.processor for t in own) for name, own in observed.turns.items()}
    share = observed.work / seconds[ours] / observed.rate
    figures = {
        "texts": observed.source,
        "passages": parameters.passages,
        "tokens": observed.tokens,
        "threads": parameters.threads,
        "amx": observed.amx,
        "gpu": "not asked for: --device cuda",
        "load": list(observed.load),
        "matrix_gflops": round(observed.rate / 1e9),
        "share_of_matrix_rate": round(share, 3),
        "passages_a_second": {n: round(parameters.passages / s, 1) for n, s in seconds.items()},
        "passages_a_processor_second": {
            name: round(parameters.passages / s, 1) for name, s in processor.items()
        },
        "least_cosine": {name: round(each, 5) for name, each in observed.cosines.items()},
        "not_installed": observed.missing,
        "passages_a_second_of": {n: round(each.rate, 1) for n, each in observed.volumes.items()},
        "memory_mib_after": {n: each.memory >> 20 for n, each in observed.volumes.items()},
        "gain_of_a_second_worker": observed.gain and round(observed.gain, 2),
    }
    claims = [
        at_least(
            "least cosine of a vector with that in float32", observed.cosines[ours], LEAST_COSINE
        )
    ]
    if parameters.judge_speed:
        claims += _speed_claims(observed, ours, share) + _volume_claims(observed)
    return Result(figures, claims)


def _speed_claims(observed: Observed, ours: str, share: float) -> list[Claim]:
    """Each by turns of one round: the median of their ratios."""
    times = {
        name: _ratio(own, observed.turns[ours])
        for name, own in observed.turns.items()
        if not name.startswith(OURS)
    }
    claims = [
        at_least(
            "share of the rate of matrix products alone",
            share,
            LEAST_SHARE_AMX if observed.amx else LEAST_SHARE,
        )
    ]
    if DEFAULT in times:
        claims.append(
            at_least("times sentence-transformers' default", times[DEFAULT], TIMES_DEFAULT)
        )
    if times:
        best = min(times, key=times.__getitem__)
        claims.append(at_least(f"times the best of the others, {best}", times[best], TIMES_BEST))
    return claims


def _volume_claims(observed: Observed) -> list[Claim]:
    rates = [each.rate for each in observed.volumes.values()]
    memory = [each.memory for each in observed.volumes.values()]
    claims = [
        at_most("share by which rates of few and many differ", _apart(rates), MOST_APART),
        at_most("share by which memory after few and many differs", _apart(memory), MOST_APART),
    ]
    if observed.gain is not None:
        claims.append(at_least("times one worker of one thread, two", observed.gain, LEAST_GAIN))
    return claims


def _apart(values: Sequence[float]) -> float:
    return 1 - min(values) / max(values)


def _ratio(theirs: Sequence[Turn], ours: Sequence[Turn]) -> float:
    return median(one.seconds / other.seconds for one, other in zip(theirs, ours, strict=True))


BENCH = Bench(
    description=__doc__ or "",
    full=Parameters(passages=500, rounds=5, threads=2, judge_speed=True),
    quick=Parameters(passages=60, rounds=1, threads=1, judge_speed=False),
    observe=observe,
    judge=judge,
    options={
        "passages": "of a turn",
        "rounds": "of turns",
        "threads": "of the model's arithmetic",
        "device": "cpu, or cuda: a model of BERT-base's size on a GPU",
    },
)
