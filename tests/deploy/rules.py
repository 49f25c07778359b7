"""What a rule is: a function with a sentence that takes an overlay's objects and yields faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.deploy.rendering import Object

Rule = Callable[[list[Object]], Iterator[str]]


class Rules(list[Rule]):
    """Those of a module, in their order; `add` is the decorator that takes one in."""

    def add(self, function: Rule) -> Rule:
        self.append(function)
        return function
