from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.errors import Corrupt, InvalidInput, NotFound
from services.standalone.qdrant_edge.protocol import collections
from services.standalone.qdrant_edge.registry import (
    AlreadyExists,
    Catalogue,
    load,
    save,
)

NAMES = ("passages-1", "passages-2", "passages-3")
ALIASES = ("live", "candidate")


def config(name: str, size: int = 4) -> collections.CreateCollection:
    created = collections.CreateCollection(collection_name=name)
    created.vectors_config.params_map.map["dense"].size = size
    return created


def point_to(alias: str, name: str) -> collections.AliasOperations:
    action = collections.CreateAlias(alias_name=alias, collection_name=name)
    return collections.AliasOperations(create_alias=action)


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue().with_collection(config("passages-1")).with_collection(config("passages-2"))


def test_an_alias_never_hides_a_collection(catalogue: Catalogue) -> None:
    with pytest.raises(AlreadyExists):
        catalogue.after(point_to("passages-2", "passages-1"))
    with pytest.raises(InvalidInput):
        catalogue.after(point_to("live", "passages-1")).check_new("live")


operations = st.builds(point_to, st.sampled_from(ALIASES), st.sampled_from(NAMES))


@given(st.lists(operations, max_size=8), st.sampled_from(NAMES))
def test_no_alias_ever_points_to_what_is_not_there(
    actions: list[collections.AliasOperations], deleted: str
) -> None:
    catalogue = Catalogue()
    for name in NAMES:
        catalogue = catalogue.with_collection(config(name))
    for number, action in enumerate(actions):
        if number == len(actions) // 2:
            catalogue = catalogue.without_collection(deleted)
        try:
            catalogue = catalogue.after(action)
        except NotFound:
            continue
        assert set(catalogue.aliases.values()) <= set(catalogue.configs)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\nb", "x" * 256])
def test_a_name_that_is_no_folder_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        Catalogue().check_new(name)


def test_a_saved_catalogue_is_loaded_as_it_was(tmp_path: Path, catalogue: Catalogue) -> None:
    path = tmp_path / "catalogue.json"
    assert load(path) == Catalogue()
    aliased = catalogue.after(point_to("live", "passages-1"))
    save(path, aliased)
    assert load(path) == aliased
    assert list(tmp_path.iterdir()) == [path]  # nothing temporary is left


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "coll'])
def test_a_broken_catalogue_is_not_taken_for_an_empty_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "catalogue.json"
    path.write_text(text)
    with pytest.raises(Corrupt):
        load(path)
