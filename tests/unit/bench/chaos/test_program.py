"""From what a run under faults showed to claims."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.chaos.convergence import Convergence
from bench.chaos.damage import NEVER, Damage
from bench.chaos.excuses import Excuses
from bench.chaos.faults.kinds import Effects, Fault
from bench.chaos.phases import PHASES
from bench.chaos.program import ChaosRun, Parameters, judge, record_faults
from bench.history.events import Kind, Seen
from bench.history.history import history_of, read_history
from bench.history.promises import Promise
from bench.history.recorder import Recorder
from bench.load.session import Observations
from realm.records.generation import LiveEntry
from realm.records.generations import Generations
from realm.records.store import Store
from tests.unit.bench.history.histories import Story

A = Seen("a", 1, 0)
PARAMETERS = Parameters(
    minutes=1.0, mean=4.0, longest=6.0, least=1, commits=1, phases=5, audited=1, only="kill"
)
KILLS = [
    Fault("kill", "gateway", 20.0, 20.0, phase, Effects(processes=frozenset({"gateway"})))
    for phase in PHASES
]
FIRST, SECOND = LiveEntry(1, 1, 10.0, "", "", term=1), LiveEntry(2, 2, 50.0, "", "", term=2)


def told() -> Story:
    story = Story()
    story.upsert("a", 0, (0, 1), version=1)
    story.audit(story.search("a", 0, (2, 3), claims=1, sees=[A]), "one_version")
    return story


def run(folder: Path, story: Story, **given: Any) -> ChaosRun:
    story.end(90.0, A)
    seen = Observations(
        began=0.0,
        ended=100.0,
        history=history_of(story.events),
        restarts={},
        generations=Generations(Store.open(str(folder))),
    )
    made = ChaosRun(
        seen=seen,
        convergence=Convergence(True, 1.0, ""),
        faults=KILLS,
        damages=[],
        refreshes=[],
        history=[FIRST, SECOND],
    )
    return replace(made, **given)


def failing(made: ChaosRun) -> list[str]:
    return [claim.claim for claim in judge(PARAMETERS, made).claims if not claim.holds]


def test_a_run_without_harm_holds_every_claim(tmp_path: Path) -> None:
    assert failing(run(tmp_path, told())) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"convergence": Convergence(False, 9.0, "the alias")}, "converged"),
        ({"convergence": Convergence(True, 9.0, "", wrong_answers=["x"])}, "exact one"),
        ({"convergence": Convergence(True, 9.0, "", incomplete=["x"])}, "incomplete"),
        ({"faults": KILLS[:1]}, "phases hit by a kill"),
        ({"damages": [Damage(1, 10.0, 11.0, NEVER)]}, "not replaced"),
        ({"history": [FIRST, replace(SECOND, term=0)]}, "older leader"),
    ],
)
def test_each_harm_fails_its_claim(tmp_path: Path, given: dict[str, Any], words: str) -> None:
    assert any(words in claim for claim in failing(run(tmp_path, told(), **given)))


def test_a_broken_promise_fails_its_claim(tmp_path: Path) -> None:
    story = told()
    story.search("a", 0, (60, 61), claims=1)
    assert any(Promise.WHOLE.sentence in claim for claim in failing(run(tmp_path, story)))


def test_what_the_faults_excuse_is_recorded_and_nothing_else(tmp_path: Path) -> None:
    """A gateway was down from 20 to 25; generation 1 lost points from 30 on."""
    losing = Fault("lose_points", "1", 30.0, 30.0, "rest", Effects(generation=1))
    faults = [KILLS[0], losing]
    excuses = Excuses(["gateway"], [[5.0, 25.0]]).of(faults, [Damage(1, 30.0, 35.0, 50.0)])
    with Recorder(tmp_path / "history.jsonl") as recorder:
        record_faults(recorder, faults, excuses)
    history = read_history(recorder.file)
    assert [each.kind for each in history.disturbed] == ["kill", "lose_points"]
    story = told()
    for each in history.excuses:
        story.excuse(each)
    story.fail(Kind.SEARCH, (21, 22))
    story.search("a", 0, (31, 32), claims=1)
    assert story.check().violations == []
    story.fail(Kind.SEARCH, (10, 11))
    story.search("a", 0, (15, 16), claims=1)
    broken = {each.promise for each in story.check().violations}
    assert broken == {Promise.AVAILABLE, Promise.WHOLE}
