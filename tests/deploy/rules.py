"""What a rule over an overlay is, how one is declared, and what rules walk over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.deploy.rendering import (
    PROCESSES,
    Object,
    containers,
    find,
    main_container,
    name_of,
    of_kind,
    pod,
    workloads,
)

GPU = "nvidia.com/gpu"
MISSING = object()

#: Names things of one kind: (where, thing) pairs of an overlay.
Walker = Callable[[list[Object]], Iterable[tuple[str, Object]]]
Breaker = Callable[[list[Object]], object]


@dataclass(frozen=True)
class Rule:
    """`check` yields the faults of an overlay; each breaker, with its overlay, makes one."""

    sentence: str
    check: Callable[[list[Object]], Iterator[str]]
    breakers: tuple[tuple[str, Breaker], ...]


RULES: list[Rule] = []


def field(things: Walker, path: str, sentence: str, holds: Any, broken: Any = MISSING) -> None:
    """Requires a value, or one that a function accepts, at a path of keys in each of the things.

    :param broken: the value that breaks the rule; by default the last key is removed.
    """
    *keys, last = path.split()

    def check(objects: list[Object]) -> Iterator[str]:
        for where, thing in things(objects):
            value = at(thing, [*keys, last])
            if not (holds(value) if callable(holds) else value == holds):
                yield f"{where}: {path} is {value!r}: {sentence}"

    def spoil(objects: list[Object]) -> None:
        _, thing = next(iter(things(objects)))
        for key in keys:
            thing = thing.setdefault(key, {})
        if broken is MISSING:
            del thing[last]
        else:
            thing[last] = broken

    RULES.append(Rule(f"{path}: {sentence}", check, (("cluster", spoil),)))


def rule(
    *breakers: tuple[str, Breaker],
) -> Callable[[Callable[[list[Object]], Iterator[str]]], object]:
    def add(check: Callable[[list[Object]], Iterator[str]]) -> object:
        RULES.append(Rule(check.__doc__ or "", check, breakers))
        return check

    return add


def at(thing: Any, keys: Iterable[str]) -> Any:
    for key in keys:
        thing = thing.get(key) if isinstance(thing, dict) else None
    return thing


def named(things: Iterable[Object]) -> list[tuple[str, Object]]:
    return [(name_of(each), each) for each in things]


def kind(*kinds: str, name: str = "") -> Walker:
    return lambda objects: [
        (found, each) for found, each in named(of_kind(objects, *kinds)) if name in ("", found)
    ]


def pods(objects: list[Object]) -> list[tuple[str, Object]]:
    return [(name_of(each), pod(each)) for each in workloads(objects, jobs=True)]


def all_containers(objects: list[Object]) -> list[tuple[str, Object]]:
    return [
        (f"{name_of(each)}/{container['name']}", container)
        for each in workloads(objects, jobs=True)
        for container in containers(each)
    ]


def servers(objects: list[Object]) -> list[tuple[str, Object]]:
    """Main containers, which run for long."""
    return [(name_of(each), main_container(each)) for each in workloads(objects)]


def server(name: str) -> Walker:
    return lambda objects: [each for each in servers(objects) if each[0] == name]


def volumes(objects: list[Object]) -> list[tuple[str, Object]]:
    return [(name, volume) for name, spec in pods(objects) for volume in spec.get("volumes", [])]


def scratch(objects: list[Object]) -> list[tuple[str, Object]]:
    return [(name, volume) for name, volume in volumes(objects) if "emptyDir" in volume]


def on_gpus(objects: list[Object]) -> list[tuple[str, Object]]:
    return [
        (name_of(each), each)
        for each in of_kind(objects, "Deployment")
        if GPU in main_container(each)["resources"]["limits"]
    ]


def processes(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    return (each for each in named(workloads(objects)) if each[0] in PROCESSES)


def gateway(objects: list[Object]) -> Object:
    return find(objects, "Deployment", "gateway")


def set_variable(objects: list[Object], workload: Object, name: str, value: str) -> None:
    next(e for e in main_container(workload)["env"] if e["name"] == name)["value"] = value
