"""No number on the command line leads to a traceback: bounds stand at the options themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
import typer

from realm.cli.main import app
from realm.cli.options import finite, finite_if_any, not_nan
from tests.unit.cli.conftest import Shell

#: They only say how long a training or a measurement of one's own takes.
OWN_COST = {"realm.cli.training", "realm.cli.eval"}


def callbacks(part: typer.Typer) -> Iterator[Any]:
    for command in part.registered_commands:
        yield command.callback
    for group in part.registered_groups:
        assert group.typer_instance is not None
        yield from callbacks(group.typer_instance)


def numbers() -> Iterator[Any]:
    for callback in callbacks(app):
        for name, hint in get_type_hints(callback, include_extras=True).items():
            kind, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
            kinds = {kind, *get_args(kind)} & {int, float}
            if kinds:
                where = f"{callback.__module__} {callback.__name__} {name}"
                yield pytest.param(callback, kinds.pop(), notes, id=where)


@pytest.mark.parametrize(("command", "kind", "notes"), list(numbers()))
def test_every_number_has_bounds(command: Any, kind: type, notes: list[Any]) -> None:
    (option,) = notes
    assert option.min is not None
    if kind is float:
        # No bound keeps NaN out.
        assert option.callback in (finite, finite_if_any, not_nan)
    else:
        assert option.max is not None or command.__module__ in OWN_COST


@pytest.mark.parametrize(
    "line",
    [
        "search kea --limit -1",
        "search kea --at-least 99999999999999999999",
        "search kea --timeout nan",
        "generations show -- -1",
        "refresh --wait --patience nan",
    ],
)
async def test_a_number_out_of_range_is_one_sentence(realm: Shell, line: str) -> None:
    words = line.split()
    place = words.index("--") if "--" in words else len(words)
    address = f"127.0.0.1:{realm.site.gateway.port}"
    ended = await realm.bare(*words[:place], "--address", address, *words[place:])
    assert ended.code in (1, 2)
    assert "Traceback" not in ended.out + ended.err
    assert ended.err.startswith("realm: ")
    assert ended.err.count("\n") == 1


async def test_an_endless_timeout_waits_as_long_as_it_takes(realm: Shell) -> None:
    ended = await realm("search", "tower", "--timeout", "inf")
    assert ended.code == 0, ended.err


async def test_a_search_that_matches_nothing_says_so(realm: Shell) -> None:
    ended = await realm("search", "--retrieval", "bm25", "zzzz")
    assert ended.code == 0
    assert "No passage matched" in ended.out


async def test_several_questions_wait_for_the_version_asked_for(realm: Shell) -> None:
    ended = await realm("ask", "who built it", "where is it", "--at-least", "99", "--timeout", "1")
    assert ended.code == 1
    assert "corpus version 99" in ended.out + ended.err or "deadline" in ended.err
