"""Figures of training for TensorBoard, one chart an objective and figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from realm.errors import BadSettings


class Board:
    """Writes figures under a folder; an empty folder's board writes nothing.

    :raises BadSettings: if a folder is given and tensorboardX is not installed.
    """

    def __init__(self, folder: str) -> None:
        self._writer: Any = None
        if not folder:
            return
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise BadSettings(
                "REALM_TENSORBOARD_DIR needs the package tensorboardX:"
                " pip install 'realm[tensorboard]', or leave it empty"
            ) from error
        self._writer = SummaryWriter(folder)

    def write(self, chart: str, figures: Mapping[str, float], step: int) -> None:
        """`<chart>/<figure>` at a step."""
        if self._writer is not None:
            for name, figure in figures.items():
                self._writer.add_scalar(f"{chart}/{name}", figure, step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
