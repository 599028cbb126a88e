"""The ledger lets no lost, half-made or unheard-of write pass, and accuses no honest server."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drills.common.ledger import Key, Ledger, Value

A: Key = ("example", "a")
B: Key = ("example", "b")


def acknowledged(values: dict[Key, Value]) -> Ledger:
    ledger = Ledger()
    ledger.acknowledge(ledger.send(values))
    return ledger


def test_acknowledged_write_that_is_not_found_is_lost() -> None:
    ledger = acknowledged({A: "x", B: "y"})
    assert ledger.check({A: "x"}) == ["example b: is None, must be y"]


def test_old_value_after_an_acknowledged_one_is_a_violation() -> None:
    ledger = acknowledged({A: "old"})
    ledger.acknowledge(ledger.send({A: "new"}))
    assert ledger.check({A: "old"}) == ["example a: is old, must be new"]


def test_write_in_doubt_may_be_found_or_not() -> None:
    found_ones: list[dict[Key, Value]] = [{}, {A: "x"}]
    for found in found_ones:
        ledger = Ledger()
        ledger.send({A: "x"})
        assert ledger.check(found) == []


def test_what_was_found_of_a_write_in_doubt_must_be_found_again() -> None:
    ledger = Ledger()
    ledger.send({A: "x"})
    assert ledger.check({A: "x"}) == []
    assert ledger.check({}) == ["example a: is None, must be x"]


def test_half_of_a_write_in_doubt_is_a_violation() -> None:
    ledger = Ledger()
    ledger.send({A: "x", B: "y"})
    assert ledger.check({A: "x"}) == ["half made: 1 of 2 values of one write, such as example a"]


def test_value_that_was_there_before_does_not_make_a_write_half_made() -> None:
    ledger = acknowledged({A: "x"})
    ledger.send({A: "x", B: "y"})
    assert ledger.check({A: "x"}) == []


def test_refused_write_must_not_be_found() -> None:
    ledger = Ledger()
    ledger.refuse(ledger.send({A: "x"}))
    assert ledger.check({A: "x"}) == ["example a: nobody sent it"]


def test_deleted_value_that_is_found_is_a_violation() -> None:
    ledger = acknowledged({A: "x"})
    ledger.acknowledge(ledger.send({A: None}))
    assert ledger.check({A: "x"}) == ["example a: is x, must be None"]


writes = st.lists(
    st.tuples(
        st.dictionaries(
            st.sampled_from([A, B, ("head", "h")]), st.sampled_from(["1", "2", None]), min_size=1
        ),
        st.sampled_from(["acknowledged", "refused", "kept without reply", "lost without reply"]),
    ),
    max_size=8,
)


@given(writes)
def test_server_that_keeps_whole_writes_is_never_accused(
    history: list[tuple[dict[Key, Value], str]],
) -> None:
    """A write without a reply is the last before a check, as it is when a server is killed."""
    ledger, store = Ledger(), dict[Key, Value]()
    for values, end in history:
        write = ledger.send(values)
        if end in ("acknowledged", "kept without reply"):
            store.update(values)
        if end == "acknowledged":
            ledger.acknowledge(write)
        elif end == "refused":
            ledger.refuse(write)
        else:
            assert ledger.check({k: v for k, v in store.items() if v is not None}) == []
    assert ledger.check({k: v for k, v in store.items() if v is not None}) == []
