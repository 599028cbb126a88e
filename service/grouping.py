"""Rows grouped by head, so that each head multiplies its rows at once."""

from __future__ import annotations

from collections.abc import Sequence


def group_rows_by_head(head: str, heads: Sequence[str], rows: int) -> dict[str, list[int]]:
    """Row indices of each head, in the order of the heads' first appearance.

    Args:
        head: the head of rows that name none.
        heads: empty, or one name per row; an empty name stands for `head`.
        rows: how many rows there are.
    """
    if not heads:
        return {head: list(range(rows))}
    groups: dict[str, list[int]] = {}
    for row, name in enumerate(heads):
        groups.setdefault(name or head, []).append(row)
    return groups
