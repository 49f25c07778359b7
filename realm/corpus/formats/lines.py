"""Builds plain text out of what a parser of markup finds: blocks, lines, rows of tables."""

from __future__ import annotations

_CELL = " | "


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


class PlainLines:
    """Text in the making. Blocks ask for a gap around them; whoever writes next closes it."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._gap = 0  # newlines wanted before the next text
        self._space = False
        self._after_marker = False
        self._cells = ""
        self._row_began = 0
        self._row_broke = False

    def gap(self, newlines: int = 1) -> None:
        """The next text begins a new line, or leaves a blank one before it."""
        if not self._after_marker:
            self._gap = max(self._gap, newlines)

    def flow(self, text: str) -> None:
        """Text in which white space only parts words."""
        words = " ".join(text.split())
        if not words:
            self._space |= bool(text)
            return
        self._space |= text[0].isspace()
        self.exact(words)
        self._space = text[-1].isspace()

    def exact(self, text: str) -> None:
        """Text to the letter."""
        if text:
            self._close_gap()
            self._parts.append(text)

    def block(self, text: str, gap: int = 1) -> None:
        """Lines of their own, to the letter."""
        self.gap(gap)
        self.exact(text)
        self.gap(gap)

    def begin_item(self) -> None:
        """The next text stands behind the marker just written, whatever block it is in."""
        self._after_marker = True

    def end_item(self) -> None:
        self._after_marker = False
        self.gap()

    def row(self) -> None:
        """A row of a table begins: its cells stand on one line unless a cell has several."""
        self.gap()
        self._cells = ""
        self._row_began = len(self._parts)
        self._row_broke = False

    def cell(self, first: bool) -> None:
        if first:
            return
        if self._row_broke:
            self.gap()
        else:
            # Blocks inside cells ask for lines of their own: at a cell's ends they get none.
            self._gap = 0 if len(self._parts) > self._row_began else self._gap
            self._cells += _CELL

    def end_row(self) -> None:
        self._cells = ""
        self._row_broke = True
        self.gap()

    def text(self) -> str:
        return "".join(self._parts).strip("\n").rstrip()

    def _close_gap(self) -> None:
        row_has_text = len(self._parts) > self._row_began
        if self._cells and row_has_text:
            self._parts.append(self._cells)
        elif self._gap and self._parts:
            self._row_broke |= row_has_text
            last = self._parts[-1]
            self._parts.append("\n" * (self._gap - len(last) + len(last.rstrip("\n"))))
        elif self._space and self._parts and not self._parts[-1].endswith(("\n", " ")):
            self._parts.append(" ")
        self._gap, self._space, self._cells, self._after_marker = 0, False, "", False
