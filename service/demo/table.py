"""The demo's results, as a table for people."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from service.demo.few import FewShotResult
from service.demo.job import Latency, Outcome
from trunkline.cli.tables import has_styles, table_lines, wrapped

# Rich's own, without the fonts that it would have a viewer fetch.
SVG_FORMAT = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)

BAR = 40

# What an operator would read first; the rest is in /metrics.
SHOWN_METRICS = (
    'trunkline_requests_total{code="OK",method="Predict"',
    "trunkline_embedding_cache_hits_total",
    "trunkline_embedding_cache_misses_total",
    "trunkline_embedding_cache_bytes",
    "trunkline_batch_rows_count",
    "trunkline_batch_rows_sum",
    "trunkline_heads_loaded",
    "trunkline_trainings_total",
    "trunkline_feedback_total",
    "trunkline_feedback_learned_total",
)

_ROWS: tuple[tuple[str, Callable[[Outcome], str]], ...] = (
    ("data", lambda o: o.about),
    ("backbone", lambda o: o.backbone),
    ("classes", lambda o: str(o.classes)),
    ("examples, held out", lambda o: f"{o.examples:,}, {o.held_out:,}"),
    ("family chosen", lambda o: o.family),
    ("cross-validated accuracy", lambda o: _estimate(o)),
    ("accuracy on held-out data", lambda o: f"{o.held_out_accuracy:.1%}"),
    ("upload and embedding", lambda o: f"{o.upload_seconds:.1f} s"),
    ("training", lambda o: f"{o.training_seconds:.1f} s"),
    ("prediction, cold", lambda o: _milliseconds(o.cold)),
    ("prediction, cached", lambda o: _milliseconds(o.cached)),
    ("prediction, cached, REST", lambda o: _milliseconds(o.rest_cached)),
    ("feedback stored", lambda o: str(o.feedback)),
    ("asked with another's key", lambda o: o.anothers_key),
)


def excerpt(metrics: str) -> list[str]:
    """Returns the lines of Prometheus' text format that the demo shows."""
    return [line for line in metrics.splitlines() if line.startswith(SHOWN_METRICS)]


def render(
    outcomes: Sequence[Outcome],
    few_shot: FewShotResult,
    metrics: Sequence[str],
    width: int | None = None,
) -> Text:
    """Draws a column for each tenant, the result of the head of few examples, and some metrics.

    Lines fit the width, in columns; without one each row is a line.
    """
    title = "One server, two frozen backbones, three tenants"
    header = ["", *(outcome.head for outcome in outcomes)]
    rows = [[name, *map(cell, outcomes)] for name, cell in _ROWS]
    footnote = (
        "Accuracy: estimate with its 95 % interval. Predictions: one row a request over gRPC "
        "unless REST is named, median / 99th percentile."
    )
    drawn = [*_table(title, header, rows, footnote, width), *_few_shot(few_shot, width)]
    return Text("\n").join([*drawn, Text("\nFrom /metrics", style="bold"), *map(Text, metrics)])


def _few_shot(few_shot: FewShotResult, width: int | None) -> list[Text]:
    """Shows how feedback alone made a head of few examples better."""
    title = f"\n{few_shot.head}: {few_shot.examples} examples, then feedback"
    rows = [
        [str(count), f"{accuracy:.1%}", "█" * round(BAR * accuracy)]
        for count, accuracy in few_shot.points
    ]
    measured = f"accuracy on {few_shot.held_out:,} held-out rows"
    header = ["feedback learned", measured, "0 to 100 %"]
    footnote = (
        f"{few_shot.right_first} of the {few_shot.sent} were right before their label was sent. "
        f"Trainings: {few_shot.versions}. The policy was immediate: the next prediction shows it."
    )
    return _table(title, header, rows, footnote, width)


def _table(
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    footnote: str,
    width: int | None,
) -> list[Text]:
    head, body = table_lines(header, rows, width)
    return [
        *(Text(line, style="bold") for line in (title, "", *head)),
        *map(Text, body),
        *(Text(line, style="dim") for line in ("", *wrapped(footnote, width))),
    ]


def console(*, record: bool = False) -> Console:
    """Returns standard output, wide enough where it is no terminal."""
    plain = Console(
        record=record,
        color_system="auto" if has_styles() else None,
        highlight=False,
        emoji=False,
    )
    if not plain.is_terminal:
        plain.width = 120
    return plain


def _estimate(outcome: Outcome) -> str:
    low, high = outcome.estimated_low, outcome.estimated_high
    return f"{outcome.estimated_accuracy:.1%} ({100 * low:.1f}-{100 * high:.1f})"


def _milliseconds(latency: Latency) -> str:
    return f"{1000 * latency.median:.1f} / {1000 * latency.p99:.1f} ms"
