"""What a client sends to be advised on: a stream of labelled inputs, of which a sample is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from models import Modality
from service.advice.sample import Sample
from service.config import ServerSettings
from service.errors import InvalidRequest
from service.requests.fields import check_group, check_label, check_rows
from service.requests.inputs import RawInput, read_inputs
from trunkline.resources import TenantName
from trunkline.v1 import advice_pb2

MIN_CLASSES, MIN_PER_CLASS = 2, 2

MAX_NAMED_ERRORS = 1000
"""Errors of so many rows are kept while the stream is read; further ones are only counted."""


@dataclass(frozen=True, slots=True)
class LabelledInput:
    """An input, its label, its row in the stream, and its group, None for none."""

    row: int
    label: str
    raw: RawInput
    group: str | None = None


class AdviceRequest:
    """Reads the stream, message by message.

    Attributes:
        tenant: who asks.
        backbones: names of those to compare; empty for all that take the inputs.
        seed: decides whatever is left to chance.
        errors: why rows have no part in the advice, by their row in the stream; of rows that are
            refused while they are read, the first.

    Raises:
        InvalidName: the first message names no tenant.
    """

    def __init__(self, first: advice_pb2.AdviseRequest, settings: ServerSettings) -> None:
        self.tenant = TenantName.parse(first.parent, field="parent").tenant
        self.backbones = tuple(dict.fromkeys(first.backbones))
        self.seed = first.seed
        self.errors: dict[int, Exception] = {}
        self._settings = settings
        self._modality: Modality | None = None
        self._rows = self._unnamed = 0
        self._sample: Sample[LabelledInput] = Sample(
            settings.max_advice_examples, settings.max_advice_bytes, first.seed
        )

    @property
    def seen(self) -> int:
        """Inputs that came in good form."""
        return self._sample.seen

    @property
    def failed(self) -> int:
        """Rows that have no part in the advice."""
        return len(self.errors) + self._unnamed

    @property
    def modality(self) -> Modality:
        """The modality of the inputs.

        Raises:
            InvalidRequest: there are none.
        """
        if self._modality is None:
            raise InvalidRequest(
                f"examples: none of {self._rows} can be used{self._why()}",
                field="examples",
                limit=f"at least {MIN_PER_CLASS} of {MIN_CLASSES} labels",
                value=0,
            )
        return self._modality

    async def read(self, message: advice_pb2.AdviseRequest) -> None:
        """Reads the next message.

        Raises:
            InvalidRequest: it has too many rows, or is for another tenant, or has images where
                texts came before or the other way round.
        """
        if message.parent not in ("", f"tenants/{self.tenant}"):
            raise InvalidRequest(
                f"parent: a stream is for one tenant ({self.tenant}), is {message.parent[:200]}",
                field="parent",
                limit=f"tenants/{self.tenant}",
                value=message.parent,
            )
        rows = message.examples
        if rows:  # the first message may only say what is asked for
            check_rows("examples", len(rows), self._settings.max_rows_per_request)
        inputs = await read_inputs([row.input for row in rows], self._settings.input_limits)
        for row, raw in zip(rows, inputs, strict=True):
            try:
                example = self._labelled(row, raw)
            except InvalidRequest as error:
                self._refuse(error)
            else:
                self._take(example)
            self._rows += 1

    def examples(self) -> list[LabelledInput]:
        """Returns the sample, in the order of the stream."""
        return [example for _, _, example in self._sample.rows()]

    def usable(self, examples: Sequence[LabelledInput]) -> list[LabelledInput]:
        """Returns the examples that can be learned from; the others are added to `errors`.

        Raises:
            InvalidRequest: too few labels are left, or there are too many.
        """
        good = [example for example in examples if example.row not in self.errors]
        counts = Counter(example.label for example in good)
        for example in good:
            if counts[example.label] < MIN_PER_CLASS:
                self.errors[example.row] = InvalidRequest(
                    f"label: {example.label!r} has {counts[example.label]} example, at least "
                    f"{MIN_PER_CLASS} are needed: one to learn from, one to test",
                    field="label",
                    limit=MIN_PER_CLASS,
                    value=counts[example.label],
                )
        labels = sum(count >= MIN_PER_CLASS for count in counts.values())
        most = self._settings.max_classes
        if not MIN_CLASSES <= labels <= most:
            limit = f"at least {MIN_CLASSES}" if labels < MIN_CLASSES else f"at most {most}"
            raise InvalidRequest(
                f"examples: {limit} labels with {MIN_PER_CLASS} examples or more are needed, "
                f"there are {labels} among {self._rows} rows{self._why()}",
                field="examples",
                limit=MIN_CLASSES if labels < MIN_CLASSES else most,
                value=labels,
            )
        return [example for example in good if example.row not in self.errors]

    def _why(self) -> str:
        """Returns the error of the first row that cannot be used, to end a message with."""
        return f"; the first: {self.errors[min(self.errors)]}" if self.errors else ""

    def _labelled(self, row: advice_pb2.LabelledInput, raw: RawInput | Exception) -> LabelledInput:
        """Returns the next row.

        Raises:
            InvalidRequest: it cannot be used.
        """
        if isinstance(raw, Exception):
            raise raw
        label = check_label(row.label, self._settings.max_label_bytes)
        group = check_group(row.group) or None
        self._check_number(label)
        if raw.kind.modality is None:
            raise InvalidRequest(
                f"input: must be an image, pixels or a text, is of kind {raw.kind}: direct "
                "training needs the input itself",
                field="input",
                limit="image, pixels, text",
                value=raw.kind,
            )
        return LabelledInput(self._rows, label, raw, group)

    def _refuse(self, error: InvalidRequest) -> None:
        """Keeps why the next row cannot be used, and nothing of its message, which frames hold."""
        if len(self.errors) < MAX_NAMED_ERRORS:
            error.__cause__ = error.__context__ = error.__traceback__ = None
            self.errors[self._rows] = error
        else:
            self._unnamed += 1

    def _take(self, example: LabelledInput) -> None:
        """Adds a row to the sample.

        Raises:
            InvalidRequest: it is of another modality than those before it.
        """
        kind = example.raw.kind
        if self._modality not in (None, kind.modality):
            raise InvalidRequest(
                f"examples: either all are images or all are texts; row {example.row} is of kind "
                f"{kind}, those before it were {self._modality} inputs",
                field="examples",
                limit=self._modality,
                value=kind.modality,
            )
        self._modality = kind.modality
        self._sample.add(example.row, example.label, example, example.raw.cost)

    def _check_number(self, label: str) -> None:
        """Refuses more labels than examples are sampled: each of them is remembered."""
        labels, most = self._sample.labels, self._settings.max_advice_examples
        if label not in labels and len(labels) >= most:
            raise InvalidRequest(
                f"label: at most {most} different ones, {label[:200]!r} is one more",
                field="label",
                limit=most,
                value=most + 1,
            )
