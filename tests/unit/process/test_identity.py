"""Whether a process has certainly ended."""

from __future__ import annotations

import subprocess
import sys

from realm.process.identity import process_has_ended, process_identity


def test_a_living_process_has_not_ended() -> None:
    assert not process_has_ended(process_identity())


def test_an_unreaped_process_has_ended() -> None:
    program = "from realm.process.identity import process_identity as me; print(me())"
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    name = child.stdout.read().strip()
    child.stdout.close()
    assert child.wait(timeout=30) == 0
    assert process_has_ended(name)


def test_a_process_whose_number_another_one_has_now_has_ended() -> None:
    named, _, started = process_identity().rpartition("/")
    assert process_has_ended(f"{named}/{int(started) - 1}")


def test_a_process_of_another_machine_may_be_alive() -> None:
    assert not process_has_ended("elsewhere/00000000-0000:pid:[1]/1/1")
    assert not process_has_ended("")
    assert not process_has_ended("nonsense")
