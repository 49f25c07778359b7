"""What the load generator asks for and writes next."""

from __future__ import annotations

import pytest

from bench.history.events import Revision
from bench.load.believed import Believed
from realm.errors import NotFound


def one_document() -> Believed:
    believed = Believed(seed=0)
    believed.wrote("a", 0, 3)
    return believed


def test_it_asks_for_what_is_there() -> None:
    believed = one_document()
    believed.wrote("b", 0, 4)
    believed.wrote("b", None, 5)
    assert {believed.something()[0] for _ in range(20)} == {Revision("a", 0)}
    assert believed.version == 5
    assert believed.newest("b") == 0


def test_no_two_writes_of_a_document_are_under_way_and_each_has_a_revision_of_its_own() -> None:
    believed = one_document()
    begun = [believed.begin_write(delete=False) for _ in range(20)]
    assert len({each.document for each in begun}) == 20
    assert believed.written == {each.document for each in begun}
    assert [each.number for each in begun if each.document == "a"] in ([1], [])


def test_a_write_of_unknown_fate_leaves_its_document_out_until_a_read_decides() -> None:
    believed = one_document()
    assert believed.begin_write(delete=True) == Revision("a", None)
    believed.unsure("a")
    assert believed.present() == {}
    assert believed.in_doubt() == "a"
    with pytest.raises(NotFound, match="every document"):
        believed.something()
    believed.read("a", 0, 3)
    assert believed.in_doubt() is None
    assert believed.something() == (Revision("a", 0), 3)


def test_a_revision_is_never_used_twice_even_if_nobody_knows_whether_it_was_written() -> None:
    believed = one_document()
    seen = []
    for _ in range(30):
        begun = believed.begin_write(delete=False)
        seen.append(begun)
        believed.unsure(begun.document)
        believed.read(begun.document, 0, 3)
    assert len({*seen}) == len(seen)
    assert any(each == Revision("a", 2) for each in seen)
