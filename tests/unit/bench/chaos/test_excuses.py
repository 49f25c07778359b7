"""What faults excuse, and what not."""

from __future__ import annotations

import pytest

from bench.apparatus.network import Link
from bench.chaos.damage import LATE_SECONDS, NEVER, Damage
from bench.chaos.excuses import PATIENCE_SECONDS, RECONNECT_SECONDS, Excuses
from bench.chaos.faults.kinds import Effects, Fault
from bench.history.events import Excuse, Need
from bench.history.promises import Promise

NAMES = ["gateway", "gateway-2"]
LONG = PATIENCE_SECONDS + 1


def excuses(*faults: Fault, damages: tuple[Damage, ...] = ()) -> list[Excuse]:
    return Excuses(NAMES, [[5.0, 20.0], [9.0, 9.9, 14.0, 15.0]]).of(faults, damages)


def fault(effects: Effects, seconds: float = 0.0) -> Fault:
    return Fault("fault", "", 10.0, 10.0 + seconds, "rest", effects)


def of(*names: str) -> Effects:
    return Effects(processes=frozenset(names))


def test_requests_may_fail_at_a_gateway_until_it_is_back_and_its_client_has_reconnected() -> None:
    down, unfound = excuses(fault(of("gateway-2")), fault(of("indexer")))
    assert (down.gateway, down.began, down.ended) == (1, 10.0, 14.0)
    assert (unfound.gateway, unfound.began) == (1, 14.0)
    assert unfound.ended == 14.0 + RECONNECT_SECONDS
    assert {down.promise, unfound.promise} == {Promise.AVAILABLE}
    assert down.needs is None


def test_a_gateway_that_never_came_back_stays_down() -> None:
    (down,) = excuses(fault(of("gateway"), seconds=90.0))
    assert down.ended is None


@pytest.mark.parametrize(
    "effects",
    [
        of("qdrant"),
        of("embedder-delta"),
        Effects(links=frozenset({Link("gateway", "qdrant")})),
        Effects(storeless=frozenset({"indexer"})),
        Effects(slowed=frozenset({"indexer-2"})),
    ],
)
def test_what_requests_can_wait_for_excuses_nothing_until_it_lasts(effects: Effects) -> None:
    assert excuses(fault(effects, seconds=PATIENCE_SECONDS - 1)) == []
    (found,) = excuses(fault(effects, seconds=LONG))
    assert (found.began, found.ended) == (10.0, 10.0 + LONG + LATE_SECONDS)
    assert found.promise is Promise.AVAILABLE
    assert found.needs


def test_a_link_excuses_what_goes_over_it_at_the_gateway_that_it_begins_at() -> None:
    def link(process: str, peer: str) -> list[Excuse]:
        return excuses(fault(Effects(links=frozenset({Link(process, peer)})), seconds=LONG))

    (searches,) = link("gateway-2", "qdrant")
    assert (searches.gateway, searches.needs) == (1, (Need.INDEX, Need.LATEST))
    (writes,) = link("gateway", "indexer-2")
    assert (writes.gateway, writes.needs) == (0, (Need.LEADER,))
    (following,) = link("indexer", "qdrant")
    assert (following.gateway, following.needs) == (None, (Need.LATEST,))
    assert link("gateway", "redis") == [], "only wake-ups come that way"


def test_a_slow_store_excuses_reads_of_the_newest_version_alone() -> None:
    (found,) = excuses(fault(Effects(slowed=frozenset({"gateway", "indexer"})), seconds=LONG))
    assert (found.gateway, found.needs) == (None, (Need.LATEST,))


def test_what_cut_nothing_and_what_only_builds_excuses_nothing() -> None:
    assert excuses(fault(Effects(), seconds=LONG)) == []
    building = Effects(processes=frozenset({"embedder"}), storeless=frozenset({"embedder"}))
    assert excuses(fault(building, seconds=LONG)) == []


def test_an_indexer_that_is_down_excuses_nothing() -> None:
    assert excuses(fault(of("indexer", "indexer-2"), seconds=LONG)) == []


def test_a_damaged_corpus_excuses_what_needs_it_and_no_other_file_excuses_anything() -> None:
    (found,) = excuses(
        fault(Effects(paths=frozenset({"corpus/x.parquet"})), seconds=4.0),
        fault(Effects(paths=frozenset({"vectors/y.arrow"})), seconds=4.0),
    )
    assert (found.promise, found.gateway) == (Promise.AVAILABLE, None)
    assert found.needs == (Need.LATEST, Need.LEADER)
    assert (found.began, found.ended) == (10.0, 14.0 + LATE_SECONDS)


def test_what_is_damaged_may_lack_something_until_it_is_known_and_fail_until_replaced() -> None:
    whole, durable, available = excuses(
        damages=(Damage(3, began=100.0, noticed=104.0, replaced=130.0),)
    )
    assert (whole.promise, whole.generation) == (Promise.WHOLE, 3)
    assert (whole.began, whole.ended) == (100.0, 104.0 + LATE_SECONDS)
    assert (durable.promise, durable.ended) == (Promise.DURABLE, 104.0 + LATE_SECONDS)
    assert (available.promise, available.gateway) == (Promise.AVAILABLE, None)
    assert available.needs == (Need.INDEX, Need.LATEST), "writes are taken all the same"
    assert (available.began, available.ended) == (100.0, 130.0 + LATE_SECONDS)


def test_a_damage_that_is_never_noticed_is_excused_to_the_end_and_judged_on_its_own() -> None:
    found = excuses(damages=(Damage(3, began=100.0, noticed=NEVER, replaced=NEVER),))
    assert [each.ended for each in found] == [None, None, None]


def test_what_is_replaced_before_its_damage_is_noticed_is_not_searched_any_longer() -> None:
    whole, durable, _ = excuses(damages=(Damage(3, began=100.0, noticed=NEVER, replaced=130.0),))
    assert (whole.ended, durable.ended) == (130.0 + LATE_SECONDS, None)
