"""What uploads and feedback make of examples: the last new statement counts, and all is noted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.store.example_rules import Noted, State, Statement, UploadChange, decide

C = UploadChange
UPLOADED = State("a", "a", "upload", 1.0, held_out=False)
CORRECTED = State("b", "a", "feedback", 1.0, held_out=False)
ONLY_FEEDBACK = State("b", None, "feedback", 1.0, held_out=False)


def row(
    label: str | None, digest: str = "x", *, weight: float | None = None, held_out: bool = False
) -> Statement:
    return Statement(digest, label, "upload", weight, held_out)


@pytest.mark.parametrize(
    ("before", "label", "overwrite", "after", "noted", "overruled"),
    [
        (UPLOADED, "a", False, "a", [], False),
        (UPLOADED, "c", False, "c", [Noted(C.LABEL_REPLACED, "a", "c")], True),
        (UPLOADED, None, False, "a", [], False),
        (CORRECTED, "a", False, "b", [Noted(C.CORRECTION_KEPT, "a", "b")], False),
        (CORRECTED, "a", True, "a", [Noted(C.CORRECTION_REPLACED, "b", "a")], True),
        (CORRECTED, "b", False, "b", [], True),
        (CORRECTED, "c", False, "c", [Noted(C.CORRECTION_REPLACED, "b", "c")], True),
        (CORRECTED, None, True, "b", [], False),
        (ONLY_FEEDBACK, "b", False, "b", [], True),
        (ONLY_FEEDBACK, "a", False, "a", [Noted(C.CORRECTION_REPLACED, "b", "a")], True),
        (None, "a", False, "a", [], True),
    ],
)
def test_label_that_uploads_gave_before_says_nothing_new_and_another_one_wins(
    before: State | None,
    label: str | None,
    overwrite: bool,
    after: str,
    noted: list[Noted],
    overruled: bool,
) -> None:
    stored = {} if before is None else {"x": before}
    found = decide([row(label)], stored, {}, overwrite=overwrite)
    assert found.states["x"].label == after
    assert found.noted == [noted]
    assert bool(found.overruled) == overruled


def test_rows_that_repeat_an_input_are_told_apart_by_what_they_say() -> None:
    rows = [row("a"), row("a"), row(None), row("b"), row("b", "y")]
    found = decide(rows, {}, {"y": "c"})
    assert found.noted == [
        [],
        [Noted(C.ROW_REPEATED)],
        [Noted(C.ROW_REPEATED)],
        [Noted(C.ROW_CONTRADICTED, "a", "b")],
        [Noted(C.ROW_CONTRADICTED, "c", "b")],
    ]


def test_label_that_an_earlier_message_stored_is_not_told_as_that_of_another_upload() -> None:
    found = decide([row("c")], {"x": UPLOADED}, {"x": "a"})
    assert found.noted == [[Noted(C.ROW_CONTRADICTED, "a", "c")]]
    # Here the earlier message had left the correction alone.
    found = decide([row("c")], {"x": CORRECTED}, {"x": "a"})
    assert [note.change for note in found.noted[0]] == [C.ROW_CONTRADICTED, C.CORRECTION_REPLACED]


def test_upload_with_two_labels_that_is_sent_again_leaves_a_correction_in_force() -> None:
    found = decide([row("c"), row("a")], {"x": CORRECTED}, {})
    assert found.states["x"] == CORRECTED
    assert found.overruled == []
    assert found.noted == [
        [],
        [Noted(C.ROW_CONTRADICTED, "c", "a"), Noted(C.CORRECTION_KEPT, "a", "b")],
    ]


def test_moves_between_training_and_testing_and_other_weights_are_noted() -> None:
    held_out = UPLOADED._replace(held_out=True)
    assert decide([row("a")], {"x": held_out}, {}).noted == [[Noted(C.TRAINED_ON)]]
    rows = [row("a", held_out=True, weight=2.0), row(None, held_out=True)]
    assert decide(rows, {"x": UPLOADED}, {}).noted == [
        [Noted(C.HELD_OUT), Noted(C.WEIGHT)],
        [Noted(C.ROW_REPEATED)],
    ]
    assert decide([row("a", weight=2.0), row("a", weight=3.0)], {}, {}).noted == [
        [],
        [Noted(C.ROW_REPEATED), Noted(C.WEIGHT)],
    ]


LABELS = st.sampled_from("abc")
STATES = st.dictionaries(
    st.sampled_from("xyz"),
    st.builds(
        State,
        label=LABELS,
        own_label=LABELS,
        source=st.sampled_from(["upload", "feedback"]),
        weight=st.sampled_from([1.0, 2.0]),
        held_out=st.booleans(),
    ),
)
ROWS = st.lists(
    st.builds(
        row,
        st.none() | LABELS,
        st.sampled_from("xyz"),
        weight=st.none() | st.sampled_from([1.0, 2.0]),
        held_out=st.booleans(),
    ),
    max_size=8,
)


@given(STATES, ROWS, st.booleans())
def test_no_label_changes_without_a_note_and_sending_a_message_again_changes_none(
    stored: dict[str, State], rows: list[Statement], overwrite: bool
) -> None:
    found = decide(rows, stored, {}, overwrite=overwrite)
    told: dict[str, set[tuple[str, str]]] = {}
    for statement, noted in zip(rows, found.noted, strict=True):
        for note in noted:
            if note.change in (C.LABEL_REPLACED, C.CORRECTION_REPLACED):
                told.setdefault(statement.digest, set()).add((note.from_label, note.to_label))
    changed = {
        digest: {(state.label, found.states[digest].label)}
        for digest, state in stored.items()
        if state.label != found.states[digest].label
    }
    assert told == changed
    again = decide(rows, found.states, {}, overwrite=overwrite)
    assert {d: s.label for d, s in again.states.items()} == {
        d: s.label for d, s in found.states.items()
    }
    assert not any(
        note.change in (C.LABEL_REPLACED, C.CORRECTION_REPLACED)
        for noted in again.noted
        for note in noted
    )
