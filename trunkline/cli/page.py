"""A version's report as one self-contained HTML page."""

from collections.abc import Iterable, Mapping
from html import escape

from trunkline.values import Report

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem;
  color: #1c2733; background: #fff; }}
h1 {{ font-size: 1.5rem; margin-bottom: 0; }}
h2 {{ font-size: 1.1rem; margin-top: 2.2rem; }}
.about {{ color: #5a6a7a; margin-top: .2rem; overflow-wrap: anywhere; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #e3e8ee;
  overflow-wrap: anywhere; }}
th {{ font-weight: 600; color: #5a6a7a; }}
.chosen {{ font-weight: 600; }}
svg {{ width: 100%; height: auto; display: block; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p class="about">{about}</p>
{body}
</body>
</html>
"""
_BAR = (
    '<svg viewBox="0 0 600 44" role="img" aria-label="{label}">'
    '<rect x="0" y="18" width="600" height="8" rx="4" fill="#e3e8ee"/>'
    '<rect x="{low:.1f}" y="14" width="{width:.1f}" height="16" rx="4" fill="#9cc4ea"/>'
    '<circle cx="{middle:.1f}" cy="22" r="7" fill="#1f6fb5"/></svg>'
)
_COUNT = (
    '<svg viewBox="0 0 300 14" role="img" aria-label="{count} examples">'
    '<rect width="{width:.1f}" height="14" rx="3" fill="#1f6fb5"/></svg>'
)


def report_page(report: Report, facts: Mapping[str, object]) -> str:
    """The page; it needs no other file and no network."""
    sections = [_table(("", ""), [(name, _text(value)) for name, value in facts.items()])]
    if report.estimate is not None:
        sections.insert(0, _accuracy(report))
    sections.append("<h2>Classes</h2>" + _classes(report))
    if report.candidates:
        sections.append("<h2>Families considered</h2>" + _candidates(report))
    return _PAGE.format(
        title=escape(f"{report.head}, version {report.version}"),
        about=escape(f"{report.family} head on {report.backbone} ({report.fingerprint})"),
        body="\n".join(sections),
    )


def _accuracy(report: Report) -> str:
    estimate = report.estimate
    assert estimate is not None
    words = (
        f"{estimate.accuracy:.1%} of new inputs right, by {estimate.method}; "
        f"95 % interval {estimate.accuracy_low:.1%} to {estimate.accuracy_high:.1%}"
    )
    bar = _BAR.format(
        label=escape(words),
        low=600 * estimate.accuracy_low,
        width=600 * (estimate.accuracy_high - estimate.accuracy_low),
        middle=600 * estimate.accuracy,
    )
    return f"<h2>Expected accuracy</h2>{bar}<p>{escape(words)}</p>"


def _classes(report: Report) -> str:
    most = max((row.examples for row in report.classes), default=0) or 1
    rows = [
        (
            escape(row.label),
            str(row.examples),
            _COUNT.format(count=row.examples, width=300 * row.examples / most),
        )
        for row in report.classes
    ]
    return _table(("class", "examples", ""), rows)


def _candidates(report: Report) -> str:
    rows = []
    for row in report.candidates:
        estimate = row.estimate
        figures = (
            ("left out", "")
            if estimate is None
            else (f"{estimate.accuracy:.1%}", f"{estimate.log_loss:.4f}")
        )
        name = escape(row.family) + (" (chosen)" if row.chosen else "")
        rows.append((name, _text(row.l2), *figures))
    return _table(("family", "l2", "accuracy", "log-loss"), rows)


def _table(columns: Iterable[str], rows: Iterable[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _text(value: object) -> str:
    return escape(f"{value:.4g}" if isinstance(value, float) else str(value))
