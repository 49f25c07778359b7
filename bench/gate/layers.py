"""An encoder in two parts: the layers below are run once, those on top again for each trial.

The trainer, too, moves the top layers only (`trainable_layers`), so that is where noise goes; and
forty encodings of a corpus cost little more than a dozen.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from realm.model.bert import Bert, attended_tokens
from realm.model.encoders import Encoder, ForwardPass, ForwardRunner
from realm.model.inputs import Encoded
from realm.model.transformer import Backbone
from realm.records.vectors import Vectors

BATCH_TOKENS = 4096
#: In another order of batches a text is padded to another length.
JITTER = 16


def lower_layers_once(top: int) -> ForwardRunner:
    """For copies of one BERT that differ in the `top` layers: those below run once a batch."""
    states: dict[bytes, Tensor] = {}

    def run(
        forward: ForwardPass, backbone: Backbone, ids: Tensor, segments: Tensor, mask: Tensor
    ) -> Tensor:
        assert isinstance(backbone, Bert)
        attended = attended_tokens(mask)
        batch = torch.stack((ids, segments, mask)).cpu().numpy().tobytes()
        if batch not in states:
            states[batch] = backbone.embeddings(ids, segments)  # [batch, tokens, hidden]
            for layer in backbone.layers[:-top]:
                states[batch] = layer(states[batch], attended)
        hidden = states[batch]
        for layer in backbone.layers[-top:]:
            hidden = layer(hidden, attended)
        return hidden

    return run


class SplitEncoder:
    """`lower` gives the states below the top layers; `upper` makes vectors of them."""

    def __init__(self, encoder: Encoder, pad: int, top: int) -> None:
        self._encoder = encoder.eval()
        self._pad = pad
        layers = list(encoder.get_submodule("backbone.encoder.layer").children())
        self._below, self.top = layers[:-top], nn.ModuleList(layers[-top:])

    def noisy(self, spread: float, seed: int) -> nn.ModuleList:
        """The top layers with noise of `spread` times each parameter's own deviation."""
        layers = copy.deepcopy(self.top)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in layers.parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(noise * (spread * parameter.std()))
        return layers

    @torch.inference_mode()
    def lower(self, inputs: Sequence[Encoded]) -> list[Tensor]:
        """States [tokens, hidden] of each input."""
        states: dict[int, Tensor] = {}
        embeddings = self._encoder.get_submodule("backbone.embeddings")
        for rows in _batches([len(each) for each in inputs], seed=0):
            ids, segments, mask = self._padded([inputs[row] for row in rows])
            hidden = embeddings(ids, segments)  # [batch, tokens, hidden]
            for layer in self._below:
                hidden = layer(hidden, mask[:, None, None, :])
            for place, row in enumerate(rows):
                states[row] = hidden[place, : len(inputs[row])].clone()
        return [states[row] for row in range(len(inputs))]

    @torch.inference_mode()
    def upper(self, states: Sequence[Tensor], layers: nn.ModuleList, order: int) -> Vectors:
        """Vectors [inputs, size]; another `order` makes other batches of the same inputs."""
        vectors = np.zeros((len(states), self._encoder.embedding_size), np.float32)
        for rows in _batches([len(each) for each in states], order):
            hidden = nn.utils.rnn.pad_sequence([states[row] for row in rows], batch_first=True)
            lengths = torch.tensor([len(states[row]) for row in rows])
            mask = torch.arange(hidden.shape[1])[None, :] < lengths[:, None]  # [batch, tokens]
            for layer in layers:
                hidden = layer(hidden, mask[:, None, None, :])
            vectors[rows] = self._pooled(hidden, mask).numpy()
        return vectors

    def _pooled(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Mean and norm, as the packaged base has them."""
        weights = mask.to(hidden.dtype)
        summed = torch.bmm(weights.unsqueeze(1), hidden).squeeze(1)  # [batch, hidden]
        mean = summed / weights.sum(dim=1, keepdim=True)
        return nn.functional.normalize(mean, dim=-1) if self._encoder.normalize else mean

    def _padded(self, inputs: Sequence[Encoded]) -> tuple[Tensor, Tensor, Tensor]:
        """Ids, segments and mask, [batch, tokens] each."""
        longest = max(len(each) for each in inputs)
        ids = torch.full((len(inputs), longest), self._pad)
        segments = torch.zeros_like(ids)
        mask = torch.zeros_like(ids, dtype=torch.bool)
        for row, each in enumerate(inputs):
            ids[row, : len(each)] = torch.tensor(each.ids)
            segments[row, : len(each)] = torch.tensor(each.segments)
            mask[row, : len(each)] = True
        return ids, segments, mask


def _batches(lengths: Sequence[int], seed: int) -> Iterator[list[int]]:
    """Rows of like length, shuffled a little by the seed."""
    rng = random.Random(seed)
    keys = [length + rng.random() * JITTER for length in lengths]
    batch: list[int] = []
    longest = 0
    for row in sorted(range(len(lengths)), key=keys.__getitem__):
        longest = max(longest, lengths[row])
        if batch and longest * (len(batch) + 1) > BATCH_TOKENS:
            yield batch
            batch, longest = [], lengths[row]
        batch.append(row)
    if batch:
        yield batch
