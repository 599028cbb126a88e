"""What tables of stored examples show."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from trunkline.cli.output import short_digest
from trunkline.values.examples import Example
from trunkline.wording import age


def example_columns(rows: Sequence[Example]) -> dict[str, Callable[[Example], object]]:
    """Returns what a table says of each of these examples.

    Few heads have names and their like: a column of nothing takes the room of others.
    """
    now = datetime.now(UTC)
    columns: dict[str, Callable[[Example], object]] = {
        "example": lambda row: short_digest(row.digest),
        "name": lambda row: row.external_id,
        "class": lambda row: row.label,
        "kind": lambda row: row.kind,
        "from": lambda row: row.source,
        "held out": lambda row: row.held_out,
        "group": lambda row: row.group,
        "metadata": lambda row: ", ".join(f"{key}={row.metadata[key]}" for key in row.metadata),
        "age": lambda row: age(row.create_time, now),
    }
    for rare in ("name", "held out", "group", "metadata"):
        if not any(map(columns[rare], rows)):
            del columns[rare]
    return columns
