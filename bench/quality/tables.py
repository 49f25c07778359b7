"""A table of docs/quality.md: what one measurement found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Cell = float | str | None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows by name, a cell a column; None is what could not be measured.

    :param about: what was measured, in a sentence.
    """

    about: str
    columns: tuple[str, ...]
    rows: dict[str, tuple[Cell, ...]]

    def cell(self, row: str, column: str) -> Cell:
        """None where there is no such row."""
        return self.rows[row][self.columns.index(column)] if row in self.rows else None

    def markdown(self) -> str:
        lines = [["", *self.columns], ["---"] * (len(self.columns) + 1)]
        lines += [[name, *map(_shown, cells)] for name, cells in self.rows.items()]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def to_json(self) -> dict[str, Any]:
        rows = {name: [*cells] for name, cells in self.rows.items()}
        return {"about": self.about, "columns": [*self.columns], "rows": rows}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Table:
        """The exact inverse of `to_json`."""
        rows = {name: tuple(cells) for name, cells in found["rows"].items()}
        return cls(found["about"], tuple(found["columns"]), rows)


def _shown(cell: Cell) -> str:
    if cell is None:
        return "–"
    return cell if isinstance(cell, str) else f"{cell:.3f}"
