"""A question may be answered by any state of its time, and by no other."""

from __future__ import annotations

from drills.common.timeline import Timeline


def changed() -> Timeline[str]:
    """From "a" to "b", sent at 10 and acknowledged at 12, and to "c", at 20 and 22."""
    timeline = Timeline("a")
    timeline.begin("b", 10)
    timeline.settle(12)
    timeline.begin("c", 20)
    timeline.settle(22)
    return timeline


def test_question_before_a_change_is_answered_by_the_old_state() -> None:
    assert changed().possible(1, 9) == ["a"]


def test_question_after_an_acknowledgement_is_answered_by_the_new_state() -> None:
    assert changed().possible(13, 19) == ["b"]


def test_question_during_a_change_may_be_answered_by_either_state() -> None:
    assert changed().possible(11, 11.5) == ["b", "a"]
    assert changed().possible(5, 10) == ["b", "a"]
    assert changed().possible(12, 13) == ["b", "a"]


def test_long_question_may_be_answered_by_every_state_of_its_time() -> None:
    assert changed().possible(11, 21) == ["c", "b", "a"]


def test_change_without_acknowledgement_leaves_both_possible() -> None:
    timeline = Timeline("a")
    timeline.begin("b", 10)
    assert timeline.possible(100, 101) == ["b", "a"]


def test_refused_change_is_never_seen() -> None:
    timeline = Timeline("a")
    timeline.begin("b", 10)
    timeline.withdraw()
    assert timeline.possible(11, 12) == ["a"]
