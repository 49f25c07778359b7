"""Services by fork: processes as if started for themselves, and children of the supervisor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from services.standalone.cluster import Cluster, ProcessSpec
from services.standalone.forks import ForkServer
from services.standalone.supervisor import ChildProcess, last_lines
from tests.waiting import until

ROOT = Path(__file__).parents[3]
MODULE = """
import json, os, sys, time
from pathlib import Path

with open(Path(__file__).with_name("imports"), "a") as file:
    file.write("once\\n")

def main():
    told = {"who": os.environ["WHO"], "folder": os.getcwd(), "parent": os.getppid()}
    told["group"] = os.getpgid(0) == os.getpid()
    told["nice"] = os.nice(0)
    print(json.dumps(told), flush=True)
    if os.environ["WHO"] == "patient":
        time.sleep(120)
    return int(os.environ.get("CODE", "0"))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "told.py").write_text(MODULE)
    return tmp_path


@contextmanager
def server(folder: Path, *modules: str, **environment: str) -> Iterator[ForkServer]:
    given = {"PYTHONPATH": str(folder), **environment}
    made = ForkServer(modules, given, folder / "fork-server.log")
    try:
        until(lambda: made.ready, "the imports", 120, (folder / "fork-server.log").read_text)
        yield made
    finally:
        made.close()


def spec(folder: Path, who: str, **environment: str) -> ProcessSpec:
    command = (sys.executable, "-c", "print('executed', flush=True)")
    given = {"WHO": who, **environment}
    return ProcessSpec(who, command, given, folder / f"{who}.log", folder=folder, module="told")


def test_a_fork_has_environment_folder_group_niceness_and_output_of_its_own(folder: Path) -> None:
    with server(folder, "told") as forks:
        usual = os.nice(0)
        child = ChildProcess(replace(spec(folder, "polite"), niceness=3), forks=forks)
        child.start()
        assert child.wait(20)
    told = json.loads(child.spec.log_file.read_text())
    assert told == {
        "who": "polite",
        "folder": str(folder),
        "parent": os.getpid(),
        "group": True,
        "nice": min(19, usual + 3),
    }


def test_forks_share_what_was_imported_and_are_named(folder: Path) -> None:
    with server(folder, "told") as forks:
        children = [
            ChildProcess(replace(spec(folder, "patient"), name=name), forks=forks)
            for name in ("patient", "patient-2")
        ]
        for child in children:
            child.start()
        assert (folder / "imports").read_text() == "once\n"
        assert [psutil.Process(child.pid).name() for child in children] == ["patient", "patient-2"]
        for child in children:
            assert child.process
            child.process.kill()
            assert child.wait(20)


def test_exit_codes_and_signals_are_known(folder: Path) -> None:
    with server(folder, "told") as forks:
        wrong = ChildProcess(spec(folder, "wrong", CODE="2"), forks=forks)
        killed = ChildProcess(spec(folder, "patient"), forks=forks)
        for child in (wrong, killed):
            child.start()
        assert killed.running
        assert killed.process
        killed.process.send_signal(signal.SIGKILL)
        until(lambda: not killed.running and not wrong.running)
        for child in (wrong, killed):
            child.restart_if_dead()
        assert wrong.misconfigured
        assert killed.last_exit == -signal.SIGKILL
        assert not killed.misconfigured


def test_a_fork_that_ignores_the_signal_is_killed_in_time(folder: Path) -> None:
    with server(folder, "told") as forks:
        child = ChildProcess(spec(folder, "patient"), forks=forks)
        child.start()
        assert not child.wait(0.1)
        assert not child.running


def test_without_its_fork_server_a_process_is_started_by_its_command(folder: Path) -> None:
    with server(folder, "told") as forks:
        os.kill(forks.pid, signal.SIGKILL)
        child = ChildProcess(spec(folder, "lonely"), forks=forks)
        child.start()
        assert child.wait(20)
    assert last_lines(child.spec.log_file) == "executed"


def test_what_cannot_be_imported_is_executed(folder: Path) -> None:
    with server(folder, "nowhere") as forks:
        child = ChildProcess(spec(folder, "lonely"), forks=forks)
        child.start()
        assert child.wait(20)
    assert last_lines(child.spec.log_file) == "executed"


def test_the_services_start_no_thread_when_they_are_imported(tmp_path: Path) -> None:
    """A fork has but the thread that forked: what another held, it would hold for ever. The
    allocator of pyarrow knows of forks, and starts its own thread again."""
    cluster = Cluster(tmp_path, 0, train=True)
    modules = cluster.forked_modules
    assert len(modules) == 4
    with server(tmp_path, *modules, **cluster.environment()) as forks:
        tasks = Path(f"/proc/{forks.pid}/task").iterdir()
        threads = [(task / "comm").read_text().strip() for task in tasks]
        assert sorted(set(threads) - {"jemalloc_bg_thd"}) == ["python"], threads
        assert threads.count("python") == 1


def test_forks_die_with_a_supervisor_that_is_killed(folder: Path) -> None:
    code = f"""
import sys, time
from pathlib import Path
from services.standalone.cluster import ProcessSpec
from services.standalone.forks import ForkServer
from services.standalone.supervisor import ChildProcess
folder = Path({str(folder)!r})
forks = ForkServer(["told"], {{"PYTHONPATH": str(folder)}}, folder / "fork-server.log")
while not forks.ready:
    time.sleep(0.05)
spec = ProcessSpec("child", (), {{"WHO": "patient"}}, folder / "log", module="told")
child = ChildProcess(spec, forks=forks)
child.start()
print(forks.pid, child.pid, flush=True)
time.sleep(120)
"""
    supervisor = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert supervisor.stdout
    pids = [int(each) for each in supervisor.stdout.readline().split()]
    assert len(pids) == 2
    supervisor.kill()
    supervisor.wait(10)
    supervisor.stdout.close()
    until(lambda: not any(map(lives, pids)), "the forks' end")


def lives(pid: int) -> bool:
    """A zombie is dead: nobody is left here to bury it."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
