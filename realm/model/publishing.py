"""Publishes a model that nobody trained here: a base, or a folder of ours, as the next snapshot.

The indexer then takes it like any other: passages cut for its tokenizer, a collection of its
size, the same gate.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from realm.errors import BadSettings, Corrupt
from realm.model.base import Base, load_base
from realm.model.checkpoint import (
    CONFIG_FILE,
    PASSAGE_ENCODER_FILE,
    Model,
    load_model,
    new_model,
    write_model,
)
from realm.model.inputs import LEAST_BODY, InputLimits
from realm.settings import Settings
from realm.snapshots import Snapshot, Snapshots


def read_source(source: str | Path, settings: Settings) -> Model:
    """The model in a folder of ours; else the one that begins with a base, as a trainer would.

    A base is a Hugging Face BERT-type folder or hub name, or a sentence-transformers folder. Its
    lengths are the settings', cut where it has fewer positions; a folder of ours has its own.

    :raises NotFound, Corrupt, Unsupported, DependencyUnavailable: as `load_base` and `load_model`.
    :raises BadSettings: if the base has too few positions for any passage.
    """
    folder = Path(source)
    if (folder / CONFIG_FILE).is_file() and (folder / PASSAGE_ENCODER_FILE).is_file():
        return load_model(folder)
    return begin_model(source, settings)


def begin_model(source: str | Path, settings: Settings) -> Model:
    """The model that begins with a base: the packaged one if `source` is empty.

    :raises NotFound, Corrupt, Unsupported, DependencyUnavailable: as `load_base` does.
    :raises BadSettings: if the base has too few positions for any passage.
    """
    base = load_base(source or None)
    return new_model(
        base,
        seed=settings.seed,
        starter=settings.starter,
        reader=settings.reader_model or None,
        lengths=_lengths(base, settings),
        candidates=settings.candidates,
    )


def publish_model(
    snapshots: Snapshots, model: Model, *, step: int = 0, metrics: dict[str, float] | None = None
) -> Snapshot:
    """The model becomes the newest snapshot, once all its files are in the store.

    :raises Corrupt: if a weight is no finite number.
    """
    _check_finite(model)
    with tempfile.TemporaryDirectory(prefix="realm-snapshot-") as folder:
        write_model(Path(folder), model)
        return snapshots.publish(
            Path(folder),
            step=step,
            fingerprint=model.inputs.fingerprint,
            vector_size=model.config.embedding_size,
            metrics=metrics,
        )


def _lengths(base: Base, settings: Settings) -> InputLimits:
    positions = base.config.base.max_position_embeddings
    passage = min(settings.passage_tokens, positions)
    reader = min(settings.reader_tokens, positions)
    lengths = InputLimits(
        passage=passage,
        title=min(base.config.lengths.title, passage - 3 - LEAST_BODY),
        query=min(settings.query_tokens, reader - 1 - LEAST_BODY),
        reader=reader,
    )
    if lengths.title < 0 or lengths.query < 1:
        raise BadSettings(
            f"the base {base.config.base_name} has {positions} positions: too few for a passage"
        )
    return lengths


def _check_finite(model: Model) -> None:
    for part in (model.retriever, model.reader):
        for name, parameter in part.named_parameters():
            if not torch.isfinite(parameter).all():
                raise Corrupt(f"the weight {name} is no finite number: nothing is published")
