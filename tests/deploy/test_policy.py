"""Every overlay keeps every rule, and every rule catches a manifest that breaks it."""

from __future__ import annotations

import pytest

from tests.deploy.policy import RULES
from tests.deploy.rendering import OVERLAYS, WATCHED, name_of, render, workloads
from tests.deploy.rules import Breaker, Rule

BROKEN = [(rule, overlay, spoil) for rule in RULES for overlay, spoil in rule.breakers]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlay_keeps_the_rules(overlay: str) -> None:
    objects = render(overlay)
    assert [fault for rule in RULES for fault in rule.check(objects)] == []


@pytest.mark.parametrize(("rule", "overlay", "spoil"), BROKEN, ids=[b[0].sentence for b in BROKEN])
def test_rule_catches_what_breaks_it(rule: Rule, overlay: str, spoil: Breaker) -> None:
    objects = render(overlay)
    spoil(objects)
    assert list(rule.check(objects))


def test_every_rule_has_a_sentence_and_a_manifest_that_breaks_it() -> None:
    assert all(rule.sentence and rule.breakers for rule in RULES)


def test_rules_see_workloads() -> None:
    others = {"redis", "qdrant", "prometheus", "alertmanager", "grafana", "toolbox"}
    assert {name_of(each) for each in workloads(render("cluster"))} == {*WATCHED, *others}
