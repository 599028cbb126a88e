"""One row's answer, written as JSON, as CSV, and in words."""

import csv
import io
import json
from collections.abc import Sequence

from trunkline.cli.naming import input_name, neighbour_words, shown_name
from trunkline.cli.output import failure_words, one_line, plain
from trunkline.cli.predictions.requests import Outcome
from trunkline.datasets import FileInput
from trunkline.values.inputs import Image, Text
from trunkline.values.outcomes import Prediction, RowFailure

ENCODING = ("utf-8", "surrogateescape")
"""How rows become bytes: what is no UTF-8 in a path stays as it was found."""


class Form:
    """How rows are written: as CSV, as JSON, or in words; `top` is how many classes are shown."""

    def __init__(self, head: str, top: int | None, *, as_csv: bool, as_json: bool) -> None:
        self._head = head
        self._top = top or 1
        self.is_csv = as_csv
        self.is_json = as_json and not as_csv
        # JSON has all that there are.
        self.classes = top or (0 if self.is_json else 1)
        """How many classes to ask for, 0 for all."""

    @property
    def columns(self) -> list[str]:
        """The names of the columns of CSV."""
        return _columns(self._top)

    @property
    def header(self) -> str:
        """What comes before the first row."""
        return _record(self.columns) if self.is_csv else ""

    def row(self, item: FileInput, outcome: Outcome) -> str:
        """Writes a row, with the end of its last line."""
        if self.is_csv:
            return _csv_row(self._head, self._top, item, outcome)
        if self.is_json:
            return _json_line(self._head, item, outcome)
        return _words(self._top, item, outcome)


def _json_line(head: str, item: FileInput, outcome: Outcome) -> str:
    """Writes a row as one JSON object."""
    return json.dumps(plain({**_named(item), "head": head, **_answer(outcome)})) + "\n"


def _columns(top: int) -> list[str]:
    """Returns the column names of a CSV that shows `top` classes of each row."""
    more = [name for k in range(2, top + 1) for name in (f"label_{k}", f"probability_{k}")]
    return [
        *("name", "label", "probability", "head", "version", "live"),
        *more,
        *("set", "novelty", "novel", "decision", "described", "truncated", "digest", "error"),
    ]


def _record(cells: Sequence[object]) -> str:
    """Writes a record of RFC 4180."""
    line = io.StringIO(newline="")
    csv.writer(line).writerow(cells)
    return line.getvalue()


def _csv_row(head: str, top: int, item: FileInput, outcome: Outcome) -> str:
    """Writes a row under `_columns`. What a row does not have is an empty cell."""
    name = input_name(item)
    if isinstance(outcome, RowFailure):
        empty = [""] * (len(_columns(top)) - 3)
        words = f"{outcome.code}: {failure_words(outcome)}"
        return _record([name, *empty[:2], head, *empty[2:], words])
    sure = outcome.label is not None
    found = [name, outcome.label, outcome.probability if sure else None]
    found += [head, outcome.version, _truth(outcome.live)]
    more = list(outcome.scores.items())[1:top]
    found += [cell for pair in more for cell in pair] + [""] * (2 * (max(top, 1) - 1 - len(more)))
    chosen = outcome.prediction_set
    looked = outcome.novelty is not None
    found += [
        None if chosen is None else json.dumps(chosen, ensure_ascii=False),
        outcome.novelty,
        _truth(outcome.novel) if looked else None,
        outcome.decision,
        _truth(outcome.described),
        _truth(outcome.truncated),
        outcome.digest,
        None,
    ]
    return _record(found)


def _words(top: int, item: FileInput, outcome: Outcome) -> str:
    """Writes name, label and probability between tabs, and the next of `top` classes likewise.

    Then come set, "novel", the decision, "by description", "truncated" and the nearest examples,
    if any.
    """
    name = shown_name(item)
    if isinstance(outcome, RowFailure):
        return f"{name}\terror: {one_line(failure_words(outcome))}\n"
    words = [name, outcome.label or "-", f"{outcome.probability:.4f}" if outcome.label else "-"]
    for label, probability in list(outcome.scores.items())[1:top]:
        words += [label, f"{probability:.4f}"]
    if outcome.prediction_set is not None:
        words.append("{" + ", ".join(outcome.prediction_set) + "}")
    if outcome.novel:
        words.append(f"novel ({outcome.novelty:.2f})")
    if outcome.decision is not None:
        words.append(outcome.decision)
    if outcome.described:
        words.append("by description")
    if outcome.truncated:
        words.append("truncated")
    if outcome.neighbours:
        words.append("like " + ", ".join(map(neighbour_words, outcome.neighbours)))
    return "\t".join(words) + "\n"


def _named(item: FileInput) -> dict[str, object]:
    if isinstance(item, Image | Text) and item.path:
        return {"path": input_name(item)}
    return {"text" if isinstance(item, Text) else "row": input_name(item)}


def _answer(outcome: Outcome) -> dict[str, object]:
    if isinstance(outcome, RowFailure):
        details = {
            "message": outcome.message,
            "field": outcome.field,
            "limit": outcome.limit,
            "value": outcome.value,
        }
        error = {name: value for name, value in details.items() if value}
        return {"error": {"code": outcome.code, **error}}
    return _scores(outcome)


def _scores(outcome: Prediction) -> dict[str, object]:
    row: dict[str, object] = {
        "label": outcome.label,
        "probability": outcome.probability,
        "scores": outcome.scores,
        "version": outcome.version,
        "live": outcome.live,
        "digest": outcome.digest,
    }
    if outcome.truncated:
        row["truncated"] = True
    if outcome.prediction_set is not None:
        row["set"] = outcome.prediction_set
    if outcome.novelty is not None:
        novel = {"novelty": outcome.novelty, "novel": outcome.novel}
        row |= novel | {"abstained": outcome.abstained}
    if outcome.neighbours:
        row["neighbours"] = outcome.neighbours
    if outcome.decision is not None:
        row["decision"] = outcome.decision
    return row


def _truth(value: bool) -> str:
    return "true" if value else "false"
