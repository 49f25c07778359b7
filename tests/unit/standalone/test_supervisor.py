"""Child processes: they come back, and never outlive their supervisor."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from services.standalone.cluster import ProcessSpec
from services.standalone.supervisor import (
    MAX_BACKOFF_SECONDS,
    ChildProcess,
    last_lines,
    restart_backoff,
)
from tests.waiting import until

ROOT = Path(__file__).parents[3]


def spec(tmp_path: Path, code: str) -> ProcessSpec:
    return ProcessSpec("child", (sys.executable, "-c", code), {}, tmp_path / "child.log")


def test_the_pause_doubles_up_to_a_limit() -> None:
    pauses = [restart_backoff(deaths) for deaths in range(1, 50)]
    assert pauses[:3] == [0.5, 1.0, 2.0]
    assert pauses == sorted(pauses)
    assert pauses[-1] == MAX_BACKOFF_SECONDS


def test_a_killed_process_is_started_again_after_its_pause(tmp_path: Path) -> None:
    now = 0.0
    child = ChildProcess(spec(tmp_path, "import time; time.sleep(60)"), clock=lambda: now)
    child.start()
    first = child.pid
    assert first
    os.kill(first, signal.SIGKILL)
    until(lambda: not child.running)
    child.restart_if_dead()
    assert not child.running
    now = 1.0
    child.restart_if_dead()
    assert child.running
    assert child.pid != first
    assert child.restarts == 1
    child.terminate()
    assert child.wait(10)


def test_a_process_with_unusable_settings_is_not_started_again(tmp_path: Path) -> None:
    now = 0.0
    child = ChildProcess(spec(tmp_path, "import sys; sys.exit('no'*0 or 2)"), clock=lambda: now)
    child.start()
    until(lambda: not child.running)
    child.restart_if_dead()
    now = 1e6
    child.restart_if_dead()
    assert child.misconfigured
    assert not child.running


def test_a_process_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    code = (
        "import signal, time; signal.signal(15, signal.SIG_IGN);"
        " print(1, flush=True); time.sleep(60)"
    )
    child = ChildProcess(spec(tmp_path, code))
    child.start()
    until(lambda: "1" in last_lines(child.spec.log_file))
    child.terminate()
    assert not child.wait(0.2)
    assert not child.running


def test_children_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    """`kill -9` of the supervisor leaves nothing behind, their wrapped commands included."""
    code = f"""
import sys, time
from pathlib import Path
from services.standalone.cluster import ProcessSpec
from services.standalone.supervisor import ChildProcess
command = (sys.executable, "-c", "import time; time.sleep(120)")
child = ChildProcess(ProcessSpec("child", command, {{}}, Path({str(tmp_path)!r}) / "log"))
child.start()
print(child.pid, flush=True)
time.sleep(120)
"""
    supervisor = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert supervisor.stdout
    pid = int(supervisor.stdout.readline())
    until(lambda: "sleep" in " ".join(psutil.Process(pid).cmdline()))
    supervisor.kill()
    supervisor.wait(10)
    supervisor.stdout.close()
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")


def test_a_running_child_gives_way_with_all_its_threads(tmp_path: Path) -> None:
    code = (
        "import threading, time; threading.Thread(target=time.sleep, args=(60,)).start();"
        " print(1, flush=True); time.sleep(60)"
    )
    child = ChildProcess(spec(tmp_path, code))
    child.start()
    until(lambda: "1" in last_lines(child.spec.log_file))
    before = os.getpriority(os.PRIO_PROCESS, 0)
    child.lower_priority(min(19, before + 3))
    assert child.pid
    threads = [int(each.name) for each in Path(f"/proc/{child.pid}/task").iterdir()]
    assert len(threads) == 2
    found = {os.getpriority(os.PRIO_PROCESS, each) for each in threads}
    assert found == {min(19, before + 3)}
    assert child.spec.niceness == min(19, before + 3)
    child.terminate()
    assert child.wait(10)
