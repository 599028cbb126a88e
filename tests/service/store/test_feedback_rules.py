"""What becomes of new feedback, as a table."""

from __future__ import annotations

import pytest

from service.errors import InvalidRequest
from service.store.feedback_rules import AllowedLabels, Pending, Said, decide

Table = list[tuple[str, str]]

CASES: dict[str, tuple[Table, dict[str, list[Pending]], list[str], list[int]]] = {
    "nothing": ([], {}, [], []),
    "first word on an input": ([("x", "a")], {}, ["live"], []),
    "inputs apart": ([("x", "a"), ("y", "a")], {}, ["live", "live"], []),
    "same again at once": ([("x", "a"), ("x", "a")], {}, ["live", "superseded"], []),
    "the last one counts": ([("x", "a"), ("x", "b")], {}, ["superseded", "live"], []),
    "there and back": (
        [("x", "a"), ("x", "b"), ("x", "a")],
        {},
        ["superseded", "superseded", "live"],
        [],
    ),
    "same as what is live": ([("x", "a")], {"x": [Pending(7, "a", "live")]}, ["superseded"], []),
    "other than what is live": ([("x", "b")], {"x": [Pending(7, "a", "live")]}, ["live"], [7]),
    "same as what is live, then another": (
        [("x", "a"), ("x", "b")],
        {"x": [Pending(7, "a", "live")]},
        ["superseded", "live"],
        [7],
    ),
    "other than what is live, then the same": (
        [("x", "b"), ("x", "a")],
        {"x": [Pending(7, "a", "live")]},
        ["superseded", "live"],
        [7],
    ),
    "same as what is in quarantine": (
        [("x", "a")],
        {"x": [Pending(3, "a", "quarantined")]},
        ["live"],
        [3],
    ),
    "same as what is live over a quarantine": (
        [("x", "a")],
        {"x": [Pending(3, "b", "quarantined"), Pending(7, "a", "live")]},
        ["superseded"],
        [],
    ),
    "other than both": (
        [("x", "c"), ("y", "a")],
        {"x": [Pending(3, "b", "quarantined"), Pending(7, "a", "live")]},
        ["live", "live"],
        [3, 7],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_last_label_of_an_input_counts_and_repetition_adds_nothing(name: str) -> None:
    new, pending, states, superseded = CASES[name]
    decision = decide([Said(*item) for item in new], pending)
    assert (decision.states, decision.superseded) == (states, superseded)


@pytest.mark.parametrize(
    ("allowed", "labels", "refused"),
    [
        (AllowedLabels(None), ["a", "b", "c"], []),
        (AllowedLabels({"a", "b"}), ["a", "b"], []),
        (AllowedLabels({"a", "b"}), ["a", "c", "b"], ["c"]),
        (AllowedLabels({"a"}, more=1), ["b", "c", "b", "a"], ["c"]),
    ],
)
def test_new_labels_are_refused_where_there_is_no_room(
    allowed: AllowedLabels, labels: list[str], refused: list[str]
) -> None:
    new: set[str] = set()
    found = []
    for label in labels:
        try:
            allowed.check(label, new)
        except InvalidRequest as error:
            found.append((error.field, error.value))
    assert found == [("label", label) for label in refused]
