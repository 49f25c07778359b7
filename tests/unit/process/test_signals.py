"""Which signals end a process: not those that whoever started it wants ignored."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

HEARD = "import realm.process.signals as s; print(*[n.name for n in s.stop_signals(hangup=True)])"
LIGHT = """
import sys, realm.process.signals
print(*{"grpc", "torch", "asyncio", "typer", "rich"} & set(sys.modules))
"""
#: A process that takes itself for one of that number is told to end after its first import.
STARTING = """
import os, signal
os.getpid = lambda: {pid}
import services
signal.raise_signal(signal.SIGTERM)
print("goes on")
"""


def ignoring(*numbers: int, terminal: int | None = None) -> Callable[[], None]:
    """What happens in a child before it runs: a session of its own, perhaps with a terminal."""

    def prepare() -> None:
        os.setsid()
        if terminal is not None:
            os.close(os.open(os.ttyname(terminal), os.O_RDWR))
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)

    return prepare


def heard(prepare: Callable[[], None]) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", HEARD],
        preexec_fn=prepare,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_all_three_signals_end_a_process_by_default() -> None:
    assert heard(ignoring()) == {"SIGTERM", "SIGINT", "SIGHUP"}


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_ignored_at_the_start_stays_ignored(number: signal.Signals) -> None:
    assert heard(ignoring(number)) == {"SIGTERM", "SIGINT", "SIGHUP"} - {number.name}


def test_an_interrupt_ignored_at_a_terminal_stays_ignored() -> None:
    """So does `realm up &` in a script: Ctrl-C there is meant for the script."""
    ours, theirs = pty.openpty()
    try:
        assert "SIGINT" not in heard(ignoring(signal.SIGINT, terminal=theirs))
        assert "SIGINT" in heard(ignoring(terminal=theirs))
    finally:
        os.close(ours)
        os.close(theirs)


def test_an_interrupt_without_a_terminal_counts() -> None:
    assert "SIGINT" in heard(ignoring(signal.SIGINT))


def test_the_signals_module_imports_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    assert not done.stdout.split()


def test_a_container_s_first_process_ends_while_it_still_imports() -> None:
    done = run_starting(pid=1)
    assert (done.returncode, done.stdout) == (0, "")


def test_of_others_an_import_leaves_the_signals_as_they_are() -> None:
    assert run_starting(pid=2).returncode == -signal.SIGTERM


def run_starting(pid: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", STARTING.format(pid=pid)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
