"""In-batch contrast: each question against its passage, all others of the batch as negatives."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from realm.model.checkpoint import Model
from realm.model.inputs import Encoded
from realm.model.likelihood import inverse_cloze_loss
from realm.objectives.objective import Loss, tensors


@dataclass(frozen=True, slots=True)
class ContrastBatch:
    """b queries and n ≥ b passages: row i's positive is column i.

    `exclude` [b, n] marks pairs that are no true negatives.
    """

    queries: list[Encoded]
    passages: list[Encoded]
    exclude: Tensor


def contrastive_loss(batch: ContrastBatch, model: Model) -> Loss:
    """−log of the positive's share of its row's softmax, a mean over the queries."""
    retriever = model.retriever
    pad, device = model.inputs.pad, retriever.passage.device
    queries = retriever.query(*tensors(batch.queries, pad, device))  # [b, size]
    passages = retriever.passage(*tensors(batch.passages, pad, device))  # [n, size]
    scores = retriever.score(queries, passages)  # [b, n]
    exclude = batch.exclude.to(device)
    loss = inverse_cloze_loss(scores, exclude)
    with torch.no_grad():
        rows = torch.arange(len(scores), device=device)
        best = scores.masked_fill(exclude, -torch.inf).argmax(dim=-1)
        first = (best == rows).float().mean().item()
    figures = {"loss": loss.item(), "batch_recall_at_1": first}
    return Loss(loss, {**figures, "scale": retriever.scale.item()})
