"""The registry: what the settings may name, and what a class of an objective has to say."""

from __future__ import annotations

import pytest

from realm.errors import BadSettings
from realm.objectives.objective import chosen_objectives
from tests import tiny


def test_objectives_are_built_in_the_order_of_the_settings() -> None:
    chosen = chosen_objectives(tiny.settings(objectives="masked_lm=3,dpr=0,inverse_cloze=1"))
    assert [one.name for one in chosen] == ["masked_lm", "inverse_cloze"]


def test_an_unknown_objective_is_refused_by_name_with_those_there_are() -> None:
    with pytest.raises(BadSettings, match=r"no objective inverse_close; .*\bdpr, inverse_cloze"):
        chosen_objectives(tiny.settings(objectives="inverse_close=3"))
