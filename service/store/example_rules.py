"""Rules that decide what uploads and feedback make of examples; nothing here touches the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, NamedTuple

DESCRIPTION = "description"
"""Source of an example that stands for a label until this has others."""

Source = Literal["upload", "feedback", "description"]
Change = Literal["added", "updated", "unchanged"]


class UploadChange(StrEnum):
    """What a row of an upload does to an example that is there, as the proto says it."""

    LABEL_REPLACED = "LABEL_REPLACED"
    CORRECTION_REPLACED = "CORRECTION_REPLACED"
    CORRECTION_KEPT = "CORRECTION_KEPT"
    ROW_CONTRADICTED = "ROW_CONTRADICTED"
    ROW_REPEATED = "ROW_REPEATED"
    TRAINED_ON = "TRAINED_ON"
    HELD_OUT = "HELD_OUT"
    WEIGHT = "WEIGHT"
    GROUP = "GROUP"
    EXTERNAL_ID = "EXTERNAL_ID"
    METADATA = "METADATA"


class Noted(NamedTuple):
    """A change that is worth a word, and the labels before and after where it is one of labels."""

    change: UploadChange
    from_label: str = ""
    to_label: str = ""


class Statement(NamedTuple):
    """What a row says of an input; None for what it leaves as it is, "" or {} for none any more."""

    digest: str
    label: str | None
    source: Source
    weight: float | None
    held_out: bool
    group: str | None = None
    external_id: str | None = None
    metadata: Mapping[str, str] | None = None


class State(NamedTuple):
    """What uploads and feedback can change about an example.

    `label` counts, `own_label` is what the last upload or update said, `source` where the label
    comes from.
    """

    label: str | None
    own_label: str | None
    source: str
    weight: float
    held_out: bool
    group: str | None = None
    external_id: str | None = None
    metadata: Mapping[str, str] = MappingProxyType({})

    @property
    def counts(self) -> tuple[str | None, float, bool, str | None]:
        """What trainings take."""
        return self.label, self.weight, self.held_out, self.group


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of examples.

    Attributes:
        states: states by digest, of all that were stored or that a row is about.
        changes: per row.
        noted: per row, how it changes what was there.
        overruled: digests of inputs on which feedback counts no longer.
    """

    states: dict[str, State]
    changes: list[Change]
    noted: list[list[Noted]]
    overruled: list[str]


def decide(
    rows: Sequence[Statement],
    stored: Mapping[str, State],
    earlier: Mapping[str, str | None],
    *,
    overwrite: bool = False,
) -> Decision:
    """Decides what rows make of examples; the last label that they give an input counts.

    An upload that repeats the label that uploads gave before says nothing new, so that feedback
    on the input stands. One that gives another label overrules it.

    Args:
        stored: by digest.
        earlier: labels by digest that earlier rows of the upload gave.
        overwrite: whether labels overrule feedback even where they say nothing new.
    """
    last = {row.digest: i for i, row in enumerate(rows) if row.label is not None}
    states, given = dict(stored), dict[str, str | None]()
    decision = Decision(states, [], [], [])
    for i, row in enumerate(rows):
        before, first = states.get(row.digest), stored.get(row.digest)
        final = last.get(row.digest) == i
        if overwrite or first is None or first.source == DESCRIPTION:
            new = True
        else:
            new = row.label != first.own_label
        if first is not None and final and not new:
            after = _with_label(row, before, first.label, first.own_label, first.source)
        else:
            source = DESCRIPTION if row.source == DESCRIPTION else "upload"
            after = _with_label(row, before, row.label, row.label, source)
        states[row.digest] = after
        decision.changes.append(_change(before, after))
        decision.noted.append([])
        if row.source == "feedback":
            continue
        if row.digest in given or row.digest in earlier:
            said = given.get(row.digest, earlier.get(row.digest))
            decision.noted[-1].append(_repeated(row, said))
        if final and first is not None and first.label != earlier.get(row.digest):
            decision.noted[-1] += _relabelled(row, first, after, earlier.get(row.digest))
        decision.noted[-1] += _moved(before, after)
        if final and new:
            decision.overruled.append(row.digest)
        given[row.digest] = row.label or given.get(row.digest, earlier.get(row.digest))
    return decision


def _with_label(
    row: Statement, before: State | None, label: str | None, own: str | None, source: str
) -> State:
    """Returns the state after a row, with this label if it is an upload that has one."""
    after = before or State(None, None, row.source, 1.0, held_out=False)
    if row.source == "feedback":
        if after.source == DESCRIPTION:
            after = after._replace(own_label=None, source="feedback")
        same = row.label == after.label
        after = after if same else after._replace(label=row.label, source="feedback")
        return _described(row, after)
    if row.label is not None:
        after = after._replace(label=label, own_label=own, source=source)
    weight = after.weight if row.weight is None else row.weight
    group = after.group if row.group is None else row.group or None
    after = after._replace(weight=weight, held_out=row.held_out, group=group)
    return _described(row, after)


def _described(row: Statement, after: State) -> State:
    """Returns the state with what the row calls the input, and says of it beside."""
    name = after.external_id if row.external_id is None else row.external_id or None
    pairs = after.metadata if row.metadata is None else row.metadata
    return after._replace(external_id=name, metadata=pairs)


def _change(before: State | None, after: State) -> Change:
    if before is None:
        return "added"
    return "unchanged" if after.counts == before.counts else "updated"


def _repeated(row: Statement, said: str | None) -> Noted:
    """Notes that an earlier row of the upload had the same input, and what it said."""
    if None in (row.label, said) or row.label == said:
        return Noted(UploadChange.ROW_REPEATED)
    return Noted(UploadChange.ROW_CONTRADICTED, said or "", row.label or "")


def _relabelled(row: Statement, first: State, after: State, earlier: str | None) -> list[Noted]:
    """Notes what a label does to the one that was there before the upload, once for each."""
    label, given = after.label or "", row.label or ""
    if first.label is None or label == given == first.label:
        return []
    if label != given:
        return [] if given == earlier else [Noted(UploadChange.CORRECTION_KEPT, given, label)]
    corrected = first.source == "feedback"
    change = UploadChange.CORRECTION_REPLACED if corrected else UploadChange.LABEL_REPLACED
    return [Noted(change, first.label, label)]


def _moved(before: State | None, after: State) -> list[Noted]:
    """Notes what else is another, and a move between what is trained on and held out."""
    if before is None:
        return []
    noted = []
    if before.held_out != after.held_out:
        moved = UploadChange.HELD_OUT if after.held_out else UploadChange.TRAINED_ON
        noted.append(Noted(moved))
    if before.weight != after.weight:
        noted.append(Noted(UploadChange.WEIGHT))
    if before.group != after.group:
        noted.append(Noted(UploadChange.GROUP))
    if before.external_id not in (None, after.external_id):
        noted.append(Noted(UploadChange.EXTERNAL_ID))
    if before.metadata and before.metadata != after.metadata:
        noted.append(Noted(UploadChange.METADATA))
    return noted
