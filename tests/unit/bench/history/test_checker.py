"""The checker finds what each wrong history breaks, and nothing in right ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.history.events import Excuse, Kind, Made, Need, Seen, Sent
from bench.history.promises import Promise
from tests.unit.bench.history.histories import Story, broken

A1, A2, A3 = Seen("a", 1, 0), Seen("a", 2, 1), Seen("a", 3, 2)


def story() -> Story:
    """Document a is written at version 1."""
    made = Story()
    made.upsert("a", 0, (0, 1), version=1)
    return made


def lost_write(told: Story) -> None:
    told.upsert("a", 1, (2, 3), version=2)
    told.get("a", (4, 5), None)


def lost_from_a_collection(told: Story) -> None:
    told.hold((4, 5), 1)


def lost_edit(told: Story) -> None:
    told.upsert("a", 1, (2, 3), version=2)
    told.get("a", (4, 5), A1)


def deletion_undone(told: Story) -> None:
    told.delete("a", (2, 3), version=2)
    told.search("a", 0, (4, 5), claims=2, sees=[A1])


def old_text_in_a_collection(told: Story) -> None:
    told.upsert("a", 1, (2, 3), version=2)
    told.hold((4, 5), 2, A1, A2)


def partial_answer(told: Story) -> None:
    told.search("a", 0, (4, 5), claims=1)


def partial_answer_with_other_documents(told: Story) -> None:
    told.upsert("b", 0, (2, 3), version=2)
    told.search("a", 0, (4, 5), claims=2, sees=[Seen("b", 2, 0)])


def no_answer(told: Story) -> None:
    told.ask("a", (4, 5), claims=1, answers=0)


def mixed_names(told: Story) -> None:
    told.search("a", 0, (4, 5), claims=1, sees=[A1], made=Made(1, 2, 20))


def mixed_models(told: Story) -> None:
    told.audit(told.search("a", 0, (4, 5), claims=1, sees=[A1]), "mixed")


def refused_index(told: Story) -> None:
    told.search("a", 0, (4, 5), claims=1, sees=[A1], made=Made(2, 2, 20))


def own_write_not_read(told: Story) -> None:
    told.upsert("a", 1, (2, 3), version=2)
    told.search("a", 0, (4, 5), claims=1, sees=[A1], at_least=2)


def damaged_answer_to_at_least(told: Story) -> None:
    told.search("a", 0, (4, 5), claims=0, at_least=1)


def version_goes_back(told: Story) -> None:
    told.upsert("a", 1, (2, 3), version=2)
    told.search("a", 1, (4, 5), claims=2, sees=[A2])
    told.search("a", 0, (6, 7), claims=1, sees=[A1])


def generation_goes_back(told: Story) -> None:
    told.generation(2)
    told.search("a", 0, (4, 5), claims=1, sees=[A1], made=Made(2, 2, 20))
    told.search("a", 0, (6, 7), claims=1, sees=[A1])


def session_goes_back_over_gateways(told: Story) -> None:
    told.upsert("a", 1, (2, 3), version=2)
    told.search("a", 1, (4, 5), claims=2, sees=[A2], session=True)
    told.search("a", 0, (6, 7), claims=1, sees=[A1], session=True, gateway=1)


def never_written(told: Story) -> None:
    told.search("a", 0, (4, 5), claims=1, sees=[A1, Seen("b", 1, 0)])


def written_twice(told: Story) -> None:
    told.search("a", 0, (4, 5), claims=1, sees=[Seen("a", 2, 0)])


def seen_before_it_was_written(told: Story) -> None:
    told.search("a", 1, (2, 3), claims=1, sees=[A2])
    told.upsert("a", 1, (4, 5), version=2)


def unknown_write_seen_at_two_versions(told: Story) -> None:
    told.upsert("a", 1, (2, 3))
    told.search("a", 1, (4, 5), claims=1, sees=[A2])
    told.search("a", 1, (6, 7), claims=1, sees=[Seen("a", 3, 1)])


def unknown_write_undone(told: Story) -> None:
    """What was seen of it took place; then the text before it is back."""
    told.upsert("a", 1, (2, 3))
    told.search("a", 1, (4, 5), claims=2, sees=[A2])
    told.search("a", 0, (6, 7), claims=2, sees=[A1])


def unknown_deletion_undone(told: Story) -> None:
    """It explains the first read only if it took place, the second only if not."""
    told.delete("a", (2, 3))
    told.get("a", (4, 5), None)
    told.upsert("b", 0, (6, 7), version=2)
    told.get("a", (8, 9), A1)


def later_write_lost_to_an_unknown_one(told: Story) -> None:
    """An unknown write that is seen at a version before the next is replaced by that."""
    told.upsert("a", 1, (2, 3))
    told.upsert("a", 2, (4, 5), version=3)
    told.search("a", 2, (6, 7), claims=3, sees=[A2, A3])


def unknown_deletion_of_another_document(told: Story) -> None:
    told.upsert("b", 0, (1, 2), version=2)
    told.delete("b", (2, 3))
    told.get("a", (4, 5), None)


def deletion_sent_too_late(told: Story) -> None:
    told.get("a", (2, 3), None)
    told.delete("a", (4, 5))


def failed_question(told: Story) -> None:
    told.fail(Kind.SEARCH, (4, 5))


def excused_at_another_gateway(told: Story) -> None:
    told.excuse(Excuse(Promise.AVAILABLE, 3.0, 6.0, "down", gateway=1))
    told.fail(Kind.SEARCH, (4, 5), gateway=0)


def excused_for_writes_alone(told: Story) -> None:
    told.excuse(Excuse(Promise.AVAILABLE, 3.0, 6.0, "corpus damaged", needs=(Need.LEADER,)))
    told.fail(Kind.GET, (4, 5))
    told.fail(Kind.SEARCH, (4, 5))


def excused_too_early(told: Story) -> None:
    told.excuse(Excuse(Promise.WHOLE, 0.0, 3.0, "lost points", generation=1))
    told.search("a", 0, (4, 5), claims=1)


def wrong_answer_of_a_damaged_generation(told: Story) -> None:
    """A loss excuses that something is missing, never that something outdated is there."""
    told.excuse(Excuse(Promise.WHOLE, 0.0, 9.0, "lost points", generation=1))
    told.upsert("a", 1, (2, 3), version=2)
    told.search("a", 1, (4, 5), claims=2, sees=[A1])


WRONG: dict[Callable[[Story], None], Promise] = {
    lost_write: Promise.DURABLE,
    lost_from_a_collection: Promise.DURABLE,
    unknown_deletion_of_another_document: Promise.DURABLE,
    deletion_sent_too_late: Promise.DURABLE,
    unknown_deletion_undone: Promise.DURABLE,
    lost_edit: Promise.NOT_OUTDATED,
    deletion_undone: Promise.NOT_OUTDATED,
    old_text_in_a_collection: Promise.NOT_OUTDATED,
    unknown_write_undone: Promise.NOT_OUTDATED,
    later_write_lost_to_an_unknown_one: Promise.NOT_OUTDATED,
    wrong_answer_of_a_damaged_generation: Promise.NOT_OUTDATED,
    partial_answer: Promise.WHOLE,
    partial_answer_with_other_documents: Promise.WHOLE,
    excused_too_early: Promise.WHOLE,
    no_answer: Promise.WHOLE,
    mixed_names: Promise.ONE_VERSION,
    mixed_models: Promise.ONE_VERSION,
    refused_index: Promise.COMMITTED,
    own_write_not_read: Promise.OWN_WRITES,
    damaged_answer_to_at_least: Promise.OWN_WRITES,
    version_goes_back: Promise.NEVER_BACK,
    generation_goes_back: Promise.NEVER_BACK,
    session_goes_back_over_gateways: Promise.NEVER_BACK,
    never_written: Promise.WRITTEN_ONCE,
    written_twice: Promise.WRITTEN_ONCE,
    seen_before_it_was_written: Promise.WRITTEN_ONCE,
    unknown_write_seen_at_two_versions: Promise.WRITTEN_ONCE,
    failed_question: Promise.AVAILABLE,
    excused_at_another_gateway: Promise.AVAILABLE,
    excused_for_writes_alone: Promise.AVAILABLE,
}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda each: each.__name__)
def test_a_wrong_history_breaks_its_promise(wrong: Callable[[Story], None]) -> None:
    told = story()
    wrong(told)
    assert broken(told.check()) == [WRONG[wrong]]


def test_every_promise_is_broken_by_some_history() -> None:
    assert {*WRONG.values()} == {*Promise}


def plain(told: Story) -> None:
    told.upsert("a", 1, (2, 3), version=2)
    told.search("a", 1, (4, 5), claims=2, sees=[A2])
    told.delete("a", (6, 7), version=3)
    told.get("a", (8, 9), None)
    told.search("a", 1, (8, 9), claims=3)


def newer_than_claimed(told: Story) -> None:
    told.upsert("a", 1, (2, 3), version=2)
    told.search("a", 0, (4, 5), claims=1, sees=[A2])


def replaced_while_it_was_searched(told: Story) -> None:
    """The old words find nothing once the new text is in the index."""
    told.upsert("a", 1, (2, 9), version=2)
    told.search("a", 0, (3, 4), claims=1)


def both_texts_while_one_replaces_the_other(told: Story) -> None:
    told.upsert("a", 1, (2, 9), version=2)
    told.hold((3, 4), 1, A1, A2)


def nothing_claimed(told: Story) -> None:
    told.search("a", 0, (4, 5), claims=0)
    told.ask("a", (4, 5), claims=0, answers=0)


def unknown_write_took_place_later(told: Story) -> None:
    told.upsert("a", 1, (2, 3))
    told.get("a", (4, 5), A1)
    told.search("a", 1, (6, 7), claims=1, sees=[A2])


def unknown_write_never_took_place(told: Story) -> None:
    told.upsert("a", 1, (2, 3))
    told.upsert("b", 0, (4, 5), version=2)
    told.get("a", (6, 7), A1)


def unknown_write_hides_the_old_words(told: Story) -> None:
    told.upsert("a", 1, (2, 3))
    told.search("a", 0, (4, 5), claims=1)


def unknown_deletion_took_place(told: Story) -> None:
    told.delete("a", (2, 3))
    told.get("a", (4, 5), A1)
    told.get("a", (6, 7), None)
    told.search("a", 0, (8, 9), claims=1)


def unknown_deletion_undone_by_a_later_write(told: Story) -> None:
    told.delete("a", (2, 3))
    told.get("a", (4, 5), None)
    told.upsert("a", 2, (6, 7), version=3)
    told.search("a", 2, (8, 9), claims=3, sees=[A3])


def unknown_deletion_takes_a_later_write_away(told: Story) -> None:
    """A retry of the gateway's may arrive after the next write."""
    told.delete("a", (2, 3))
    told.upsert("a", 2, (4, 5), version=3)
    told.get("a", (6, 7), None)


def unknown_deletion_in_the_commit_of_another_write(told: Story) -> None:
    told.delete("a", (2, 3))
    told.upsert("a", 2, (2, 5), version=3)
    told.search("a", 2, (6, 7), claims=3)


def overlapping_reads(told: Story) -> None:
    told.upsert("a", 1, (2, 3), version=2)
    told.search("a", 1, (4, 8), claims=2, sees=[A2])
    told.search("a", 0, (5, 6), claims=1, sees=[A2])


def rolled_back(told: Story) -> None:
    told.generation(2)
    told.generation(1)
    told.search("a", 0, (4, 5), claims=1, sees=[A1], made=Made(2, 2, 20))
    told.search("a", 0, (6, 7), claims=1, sees=[A1])


def each_gateway_flips_at_its_own_moment(told: Story) -> None:
    told.generation(2)
    told.search("a", 0, (4, 5), claims=1, sees=[A1], made=Made(2, 2, 20))
    told.search("a", 0, (6, 7), claims=1, sees=[A1], gateway=1)


def excused(told: Story) -> None:
    told.excuse(Excuse(Promise.AVAILABLE, 3.0, 6.0, "down", gateway=0))
    told.excuse(Excuse(Promise.WHOLE, 3.0, None, "lost points", generation=1))
    told.excuse(Excuse(Promise.DURABLE, 3.0, None, "lost points", generation=1))
    told.fail(Kind.SEARCH, (1, 4))
    told.search("a", 0, (4, 5), claims=1)
    told.hold((7, 8), 1)


RIGHT = [
    plain,
    newer_than_claimed,
    replaced_while_it_was_searched,
    both_texts_while_one_replaces_the_other,
    nothing_claimed,
    unknown_write_took_place_later,
    unknown_write_never_took_place,
    unknown_write_hides_the_old_words,
    unknown_deletion_took_place,
    unknown_deletion_undone_by_a_later_write,
    unknown_deletion_takes_a_later_write_away,
    unknown_deletion_in_the_commit_of_another_write,
    overlapping_reads,
    rolled_back,
    each_gateway_flips_at_its_own_moment,
    excused,
]


@pytest.mark.parametrize("right", RIGHT, ids=lambda each: each.__name__)
def test_a_right_history_breaks_no_promise(right: Callable[[Story], None]) -> None:
    told = story()
    right(told)
    assert told.check().violations == []


def test_excuses_are_counted_and_looks_that_decide_something() -> None:
    told = story()
    excused(told)
    told.search("a", 0, (9, 10), claims=1, sees=[A1])
    report = told.check()
    assert report.excused == {"down": 1, "lost points": 2}
    assert report.decisive == 1


def test_what_was_in_flight_when_a_recording_broke_off_has_not_failed() -> None:
    told = story()
    told.events.append(Sent(99, "client", 0, Kind.SEARCH, 5.0, 5.0))
    assert told.check().violations == []
    assert broken(told.end(10.0, A1)) == [Promise.AVAILABLE]


def test_a_final_read_out_covers_everything() -> None:
    told = story()
    told.upsert("b", 0, (2, 3), version=2)
    assert told.end(10.0, A1, Seen("b", 2, 0)).holds


def test_what_the_final_read_out_lacks_is_named() -> None:
    told = story()
    told.upsert("b", 0, (2, 3), version=2)
    assert told.end(10.0, A1, gone=["b"]).of(Promise.DURABLE)
    short = story()
    short.upsert("b", 0, (2, 3), version=2)
    report = short.end(10.0, A1)
    assert "b was not read at gateway 0" in report.gaps
    assert not report.holds
    assert story().check().gaps == ["there is no final read-out, or it did not end"]
