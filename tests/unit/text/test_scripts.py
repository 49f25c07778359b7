"""Which letters a text is written in."""

from __future__ import annotations

import pytest

from realm.text.scripts import share_in


@pytest.mark.parametrize(
    ("text", "scripts", "share"),
    [
        ("Who built the tower?", ["LATIN"], 1.0),
        ("naïve Ærø, 1889", ["LATIN"], 1.0),
        ("من بنى البرج؟", ["LATIN"], 0.0),
        ("من بنى البرج؟", ["LATIN", "ARABIC"], 1.0),
        ("谁写了Redis", ["LATIN"], 5 / 8),
        ("谁写了Redis", ["CJK"], 3 / 8),
        ("1889?", ["LATIN"], 1.0),
        ("", ["LATIN"], 1.0),
    ],
)
def test_letters_are_counted_by_their_script(text: str, scripts: list[str], share: float) -> None:
    assert share_in(text, scripts) == share
