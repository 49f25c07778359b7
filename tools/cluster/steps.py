"""Steps one after another, each printed with its time; the first that fails is the last."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

from tools.cluster.processes import CommandFailed

#: A name, and what it does; what it returns is a remark, which may be empty.
Step = tuple[str, Callable[[], str]]


class StepFailed(Exception):
    """What was asked for did not come true; the message says what came instead."""


def say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def run_steps(steps: Sequence[Step], state: Callable[[], str]) -> bool:
    """Whether all succeeded.

    :param state: describes the cluster where one failed.
    """
    began = time.monotonic()
    for name, act in steps:
        since = time.monotonic()
        try:
            remark = act()
        except (CommandFailed, StepFailed) as error:
            say(f"FAILED  {time.monotonic() - since:5.0f} s  {name}\n{error}\n\n{state()}")
            return False
        say(f"ok      {time.monotonic() - since:5.0f} s  {name}{remark and f': {remark}'}")
    say(f"ok      {time.monotonic() - began:5.0f} s  in all")
    return True
