"""reStructuredText by docutils: Sphinx's words keep what they hold, and no file is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from realm.corpus.formats.rest import read_rest


def test_restructured_text() -> None:
    plain = read_rest(
        "=====\nTitle\n=====\n\n.. comment\n.. _target:\n\nUse :class:`~a.B`, "
        ":meth:`run <a.B.run>` or ``lit``; see `docs <http://x>`_::\n\n"
        "    code = 1\n      more\n\n.. note:: be careful\n\n"
        ".. code-block:: python\n   :linenos:\n\n   y = 2\n"
    )
    assert plain.title == "Title"
    assert plain.text == (
        "# Title\n\nUse a.B, run or lit; see docs:\n\n```\ncode = 1\n  more\n```\n\nbe careful\n\n"
        "```\ny = 2\n```"
    )


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (".. versionadded:: 3.2 with :ref:`x`", "3.2 with x"),
        (".. made-up:: words\n   :opt: v\n\n   Content.\n\n   .. more::\n\n      deep", None),
        (".. py:function:: f(*a, **b_)\n   :noindex:\n\n   Does.", "f(*a, **b_)\n\nDoes."),
        (".. tip::\n   at once", "at once"),
        (".. admonition:: Head\n\n   body", "Head\n\nbody"),
        (".. code::\n\n   x\n\n     *y*", "```\nx\n\n  *y*\n```"),
        (".. code-block:: python\n   y = `2`", "```\ny = `2`\n```"),
        (".. math::\n\n   a\\b", "```\na\\b\n```"),
        (".. image:: a.png\n   :alt: A map", "A map"),
        (".. figure:: a.png\n   :figclass: x\n\n   Caption\n\n   Legend", "Caption\n\nLegend"),
        (".. only:: html\n\n   words", "words"),
        (".. toctree::\n   :maxdepth: 2\n\n   a\n   b\n\nx", "x"),
        (".. raw:: html\n\n   <b>no</b>\n\nx", "x"),
        (".. unknown\n   comment\n\nx", "x"),
    ],
)
def test_directives_known_or_not_keep_their_content(source: str, text: str | None) -> None:
    assert read_rest(source).text == (text or "words\n\nContent.\n\ndeep")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (":made:up:`role text` and `default`", "role text and default"),
        (":doc:`The guide <a/b>` :ref:`!x`", "The guide x"),
        (":math:`a\\_b` ``c\\_d`` e\\*f", "a\\_b c\\_d e*f"),
        (":pep:`8`", "PEP 8"),
        ("|a| and |no|\n\n.. |a| replace:: some *text*", "some text and no"),
        (".. |a| replace:: |a|\n\n|a|", "a"),
        ("|i|\n\n.. |i| image:: x\n   :alt: pic", "pic"),
        ("see [1]_, [#]_, [CIT]_\n\n.. [1] note", "see [1], [#], [CIT]\n\n[1] note"),
        ("*a ``b |c x_", "*a ``b |c x"),
        ("on |d|\n\n.. |d| date:: %Y\0", "on d"),
        (":Author: Ann\n:orphan:", "Author: Ann"),
        ("term : kind\n  meaning", "term: kind\nmeaning"),
        ("- a\n- b\n\n  1. c\n  2. d", "- a\n- b\n\n  1. c\n  2. d"),
        ("-a, --all  everything", "-a, --all everything"),
        ("| one\n| two", "one\ntwo"),
        (">>> f( 1)\n2", "```\n>>> f( 1)\n2\n```"),
        ("=== ===\na   b\n=== ===\n1   2\n=== ===", "| a: 1 | b: 2 |"),
        ("+---+---+\n| a | b |\n+===+===+\n| 1 | 2 |\n+---+---+", "| a: 1 | b: 2 |"),
        (".. list-table:: T\n\n   * - a\n     - b\n   * - c\n     - d", "T\n| a | b |\n| c | d |"),
        (".. csv-table::\n\n   1,2\n   3,4", "| 1 | 2 |\n| 3 | 4 |"),
        ("+--+\n|broken", "+--+ |broken"),
        ("x http://a.b/c_d y", "x http://a.b/c_d y"),
    ],
)
def test_a_reader_reads(source: str, text: str) -> None:
    assert read_rest(source).text == text


def test_sections_are_headings_of_their_depth() -> None:
    plain = read_rest("A\n=\n\na\n\nB\n-\n\nb\n\nC\n=\n\nc")
    assert plain.text == "# A\n\na\n\n## B\n\nb\n\n# C\n\nc"


@pytest.mark.parametrize(
    "source",
    [
        ".. include:: {}",
        ".. literalinclude:: {}",
        ".. raw:: html\n   :file: {}",
        ".. csv-table:: x\n   :file: {}",
        ".. csv-table:: x\n   :url: file://{}",
        ".. code:: python\n   :file: {}",
    ],
)
def test_no_file_is_read(tmp_path: Path, source: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the secret,word\n", encoding="utf-8")
    assert "word" not in read_rest(source.format(secret)).text


@pytest.mark.parametrize(
    "source",
    ["Title\n==\n\nx", "a\n=\n\nb\n-\n\nc\n~\n\nd\n-\n\n\ne\n==\n", "*a\n\n.. x", "::\n\nx"],
)
def test_no_system_message_is_printed_or_kept(
    source: str, capfd: pytest.CaptureFixture[str]
) -> None:
    plain = read_rest(source)
    assert "System" not in plain.text
    assert "line" not in plain.text
    assert capfd.readouterr() == ("", "")
