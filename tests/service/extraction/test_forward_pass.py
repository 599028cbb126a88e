"""One batch on the device: who shares the prefix, and whom a failure costs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from service.errors import BackboneFailed
from service.extraction.forward_pass import BatchResult, Item, Outcome, group_rows, run_batch
from tests.service.tiny_backbone import FINGERPRINT, TinyBackbone, TinyTail, tail_file, vector_of


@pytest.mark.parametrize(
    ("keys", "groups"),
    [
        ({}, {}),
        ({0: "a"}, {"a": [0]}),
        ({0: None, 1: "a"}, {None: [0], "a": [1]}),
        ({0: "b", 1: "a", 2: "b"}, {"b": [0, 2], "a": [1]}),
        ({3: "a", 5: None, 8: "a"}, {"a": [3, 8], None: [5]}),
    ],
)
def test_rows_are_grouped_in_the_order_of_first_appearance(
    keys: dict[int, str | None], groups: dict[str | None, list[int]]
) -> None:
    assert list(group_rows(keys).items()) == list(groups.items())


def tail(shift: float, *, whole: bool = False) -> TinyTail:
    return TinyTail(tail_file(shift, whole=whole), FINGERPRINT)


def run(
    backbone: TinyBackbone, *rows: tuple[str, TinyTail | None], to_cut: tuple[str, ...] = ()
) -> BatchResult:
    items = [Item(backbone.preprocess(text), tail) for text, tail in rows]
    items += [Item(backbone.preprocess(text), to_cut=True) for text in to_cut]
    return run_batch(backbone, items)


def value(outcome: Outcome) -> NDArray[np.float32]:
    assert isinstance(outcome, np.ndarray), outcome
    return outcome


def test_batch_without_tails_runs_in_one_piece() -> None:
    backbone = TinyBackbone()
    result = run(backbone, ("a", None), ("b", None))
    assert [value(o).tolist() for o in result.outcomes] == [vector_of(t).tolist() for t in "ab"]
    assert backbone.finished == []
    assert (result.healthy, result.raised) == (True, False)


def test_all_rows_share_the_prefix_and_each_tail_runs_its_own_at_once() -> None:
    backbone, one, two = TinyBackbone(), tail(1), tail(2)
    result = run(
        backbone, ("a", one), ("b", None), ("c", two), ("d", one), ("e", None), to_cut=("f",)
    )
    assert backbone.batches == [["a", "b", "c", "d", "e", "f"]]
    assert backbone.finished == [["b", "e"]]
    assert (one.batches, two.batches) == ([["a", "d"]], [["c"]])
    for outcome, text, shift in zip(result.outcomes[:5], "abcde", [1, 0, 2, 1, 0], strict=True):
        np.testing.assert_array_equal(value(outcome), vector_of(text) + np.float32(shift))
    activation = value(result.outcomes[5])
    assert (str(activation.dtype), activation.tolist()) == ("float16", [[ord("f")]])


def test_whole_tails_begin_at_the_input_and_the_rest_stays_in_one_piece() -> None:
    backbone, whole = TinyBackbone(), tail(3, whole=True)
    result = run(backbone, ("a", whole), ("b", None), ("c", whole))
    assert backbone.batches == [["b"]]
    assert backbone.finished == []
    assert whole.batches == [["a", "c"]]
    np.testing.assert_array_equal(value(result.outcomes[0]), vector_of("a") + np.float32(3))


def test_row_that_makes_the_prefix_fail_costs_itself_alone() -> None:
    backbone, one = TinyBackbone(), tail(1)
    result = run(backbone, ("a", one), ("poison", one), ("b", None))
    assert isinstance(result.outcomes[1], BackboneFailed)
    assert "secret" not in str(result.outcomes[1])
    np.testing.assert_array_equal(value(result.outcomes[0]), vector_of("a") + np.float32(1))
    np.testing.assert_array_equal(value(result.outcomes[2]), vector_of("b"))
    assert (result.healthy, result.raised) == (True, True)


def test_row_that_makes_a_tail_fail_costs_itself_alone_and_is_no_fault_of_the_backbone() -> None:
    backbone, one, two = TinyBackbone(), tail(1), tail(2)
    result = run(backbone, ("a", one), ("cursed", one), ("b", two), ("c", None))
    assert isinstance(result.outcomes[1], BackboneFailed)
    assert [isinstance(outcome, Exception) for outcome in result.outcomes] == [0, 1, 0, 0]
    np.testing.assert_array_equal(value(result.outcomes[0]), vector_of("a") + np.float32(1))
    assert (result.healthy, result.raised) == (True, False)
    lone = run(backbone, ("cursed", one))
    assert isinstance(lone.outcomes[0], BackboneFailed)
    assert (lone.healthy, lone.raised) == (True, False)


def test_batch_of_whole_tails_says_nothing_of_the_backbone() -> None:
    result = run(TinyBackbone(), ("cursed", tail(1, whole=True)))
    assert isinstance(result.outcomes[0], BackboneFailed)
    assert (result.healthy, result.raised) == (None, False)


def test_failed_batch_says_that_the_backbone_is_not_healthy() -> None:
    backbone = TinyBackbone()
    backbone.steps = [RuntimeError("out of memory")]
    assert run(backbone, ("a", tail(1))).healthy is False


def test_embedding_that_is_not_finite_and_activation_too_large_for_half_are_errors() -> None:
    backbone, one = TinyBackbone(), tail(1)
    one.shift[:] = np.nan
    nan, good = run(backbone, ("a", one), ("b", None)).outcomes
    assert isinstance(nan, BackboneFailed)
    assert not isinstance(good, Exception)
    backbone.scale = 1e5
    (large,) = run(backbone, to_cut=("a",)).outcomes
    assert isinstance(large, BackboneFailed)
    assert "half precision" in str(large)


def test_lost_rows_are_noticed_behind_the_cut_too() -> None:
    backbone, one = TinyBackbone(), tail(1)
    # The shared pass loses a row; of the rows run alone after that, the last one is lost again.
    backbone.steps = [1, 0, 1]
    a, b = run(backbone, ("a", one), ("b", one)).outcomes
    np.testing.assert_array_equal(value(a), vector_of("a") + np.float32(1))
    assert isinstance(b, BackboneFailed)
