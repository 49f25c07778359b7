from __future__ import annotations

import subprocess
import sys

from services.indexer.leader.identity import process_has_ended, process_identity


def test_one_that_lives_is_not_gone() -> None:
    assert not process_has_ended(process_identity())


def test_one_that_ended_is_gone_even_if_nobody_buried_it() -> None:
    program = "from services.indexer.leader.identity import process_identity as me; print(me())"
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    name = child.stdout.read().strip()
    child.stdout.close()
    assert child.wait(timeout=30) == 0
    assert process_has_ended(name)


def test_a_number_that_another_process_has_now_is_gone() -> None:
    named, _, started = process_identity().rpartition("/")
    assert process_has_ended(f"{named}/{int(started) - 1}")


def test_of_another_machine_nothing_is_known() -> None:
    assert not process_has_ended("elsewhere/00000000-0000:pid:[1]/1/1")
    assert not process_has_ended("")
    assert not process_has_ended("nonsense")
