"""Builds plain text out of what a tree of markup holds: text, lines, items of lists."""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


class PlainLines:
    """Text in the making. Blocks ask for a gap around them; whoever writes next closes it."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._gap = 0  # newlines wanted before the next text
        self._space = False
        self._after_marker = False

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
        if not text:
            return
        if self._gap and self._parts:
            last = self._parts[-1]
            self._parts.append("\n" * (self._gap - len(last) + len(last.rstrip("\n"))))
        elif self._space and self._parts and not self._parts[-1].endswith(("\n", " ")):
            self._parts.append(" ")
        self._gap, self._space, self._after_marker = 0, False, False
        self._parts.append(text)

    def block(self, text: str, gap: int = 1) -> None:
        """Lines of their own, to the letter."""
        self._after_marker = False
        self.gap(gap)
        self.exact(text)
        self.gap(gap)

    def begin_item(self, marker: str) -> None:
        """The next text stands behind the marker, whatever block it is in."""
        self.gap()
        self.exact(marker)
        self._after_marker = True

    def end_item(self) -> None:
        self._after_marker = False
        self.gap()

    def text(self) -> str:
        return "".join(self._parts).strip("\n").rstrip()
