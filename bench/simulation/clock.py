"""Product code reads the simulation's clocks while one runs: `time.time` and `time.monotonic` say
what the process that runs at that moment would read, and `uuid.uuid4` is drawn from the seed."""

from __future__ import annotations

import random
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CellType, FunctionType
from typing import Any

from bench.simulation.scheduler import Scheduler

OURS = ("realm.", "services.")
REAL_TIME, REAL_MONOTONIC, REAL_UUID = time.time, time.monotonic, uuid.uuid4


class _Clocks:
    """Of the simulation that runs; without one, the real ones."""

    scheduler: Scheduler | None = None
    rng: random.Random | None = None


def _time() -> float:
    scheduler = _Clocks.scheduler
    return scheduler.wall() if scheduler else REAL_TIME()


def _monotonic() -> float:
    scheduler = _Clocks.scheduler
    return scheduler.monotonic() if scheduler else REAL_MONOTONIC()


def _uuid4() -> uuid.UUID:
    rng = _Clocks.rng
    return uuid.UUID(int=rng.getrandbits(128), version=4) if rng else REAL_UUID()


SIMULATED: dict[Any, Callable[[], Any]] = {REAL_TIME: _time, REAL_MONOTONIC: _monotonic}
REAL = {simulated: real for real, simulated in SIMULATED.items()}


@contextmanager
def installed() -> Iterator[None]:
    """Clocks can be simulated meanwhile. Defaults of parameters and fields are bound when a module
    is imported, so they are exchanged too."""
    time.time, time.monotonic, uuid.uuid4 = _time, _monotonic, _uuid4
    _exchange(SIMULATED)
    try:
        yield
    finally:
        time.time, time.monotonic, uuid.uuid4 = REAL_TIME, REAL_MONOTONIC, REAL_UUID
        _exchange(REAL)


@contextmanager
def simulated(scheduler: Scheduler, rng: random.Random) -> Iterator[None]:
    """Clocks are those of a scheduler's processes meanwhile."""
    _Clocks.scheduler, _Clocks.rng = scheduler, rng
    try:
        yield
    finally:
        _Clocks.scheduler, _Clocks.rng = None, None


def _exchange(others: dict[Any, Callable[[], Any]]) -> None:
    for name, module in list(sys.modules.items()):
        if not name.startswith(OURS):
            continue
        for held in list(vars(module).values()):
            for function in _functions(held, name):
                _exchange_defaults(function, others)


def _functions(held: object, module: str) -> Iterator[FunctionType]:
    if getattr(held, "__module__", None) != module:
        return
    if isinstance(held, FunctionType):
        yield held
    elif isinstance(held, type):
        for each in vars(held).values():
            if isinstance(each, FunctionType):
                yield each


def _exchange_defaults(function: FunctionType, others: dict[Any, Callable[[], Any]]) -> None:
    if function.__defaults__:
        function.__defaults__ = tuple(_other(each, others) for each in function.__defaults__)
    if function.__kwdefaults__:
        function.__kwdefaults__ = {
            name: _other(each, others) for name, each in function.__kwdefaults__.items()
        }
    for cell in function.__closure__ or ():  # where a dataclass keeps its fields' factories
        _exchange_cell(cell, others)


def _exchange_cell(cell: CellType, others: dict[Any, Callable[[], Any]]) -> None:
    try:
        held = cell.cell_contents
    except ValueError:  # it is empty
        return
    cell.cell_contents = _other(held, others)


def _other(value: Any, others: dict[Any, Callable[[], Any]]) -> Any:
    return others.get(value, value) if callable(value) and _is_hashable(value) else value


def _is_hashable(value: object) -> bool:
    return getattr(type(value), "__hash__", None) is not None
