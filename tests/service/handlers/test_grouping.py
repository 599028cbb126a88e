from __future__ import annotations

import pytest

from service.handlers.prediction import group_rows_by_head


@pytest.mark.parametrize(
    ("heads", "rows", "groups"),
    [
        ([], 0, {"h": []}),
        ([], 3, {"h": [0, 1, 2]}),
        (["a"], 1, {"a": [0]}),
        (["a", "b"], 2, {"a": [0], "b": [1]}),
        (["b", "a", "b"], 3, {"b": [0, 2], "a": [1]}),
        (["", "a", ""], 3, {"h": [0, 2], "a": [1]}),
        (["a", "", "h"], 3, {"a": [0], "h": [1, 2]}),
    ],
)
def test_rows_are_grouped_in_order_of_first_appearance(
    heads: list[str], rows: int, groups: dict[str, list[int]]
) -> None:
    found = group_rows_by_head("h", heads, rows)
    assert list(found.items()) == list(groups.items())
