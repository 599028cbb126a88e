"""The tables of docs/operations.md that are made from the code.

    python -m tests.docs.tables

writes them; a test fails while they are not current.
"""

from __future__ import annotations

from pathlib import Path

from pydantic.fields import FieldInfo

from service.config import ExtractorSettings, ServerSettings, StandaloneExtractorSettings
from service.metrics import Metrics

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def settings_table() -> str:
    """A row for each setting of either program."""
    both = ExtractorSettings.model_fields
    rows = [_setting(name, field, "both") for name, field in both.items()]
    for cls, where in ((ServerSettings, "server"), (StandaloneExtractorSettings, "extractor")):
        rows += [
            _setting(name, field, where)
            for name, field in cls.model_fields.items()
            if name not in both
        ]
    header = "| setting | for | default | |\n| --- | --- | --- | --- |\n"
    return header + "\n".join(rows)


def metrics_table() -> str:
    """A row for each metric."""
    rows = []
    for metric in sorted(collected_metrics(), key=lambda found: found[0]):
        name, kind, labels, documentation = metric
        rows.append(f"| `{name}` | {kind} | {labels} | {documentation} |")
    return "| metric | kind | labels | |\n| --- | --- | --- | --- |\n" + "\n".join(rows)


def with_tables(text: str) -> str:
    """The page with current tables between their marks."""
    for mark, table in (("settings", settings_table()), ("metrics", metrics_table())):
        before, _, rest = text.partition(f"<!-- {mark} -->")
        _, _, after = rest.partition(f"<!-- /{mark} -->")
        text = f"{before}<!-- {mark} -->\n{table}\n<!-- /{mark} -->{after}"
    return text


def _setting(name: str, field: FieldInfo, where: str) -> str:
    return f"| `{name}` | {where} | {_default(field)} | {_prose(field.description or '')} |"


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "`~/.cache/trunkline`"
    match field.default:
        case None | ():
            return "none"
        case bool() as value:
            return f"`{str(value).lower()}`"
        case tuple() as values:
            return "`" + ",".join(values) + "`"
    return f"`{field.default}`"


def _prose(text: str) -> str:
    return " ".join(text.replace("``", "`").split())


def collected_metrics() -> list[tuple[str, str, str, str]]:
    """Name, kind, labels and documentation of every metric."""
    found = []
    for metric in vars(Metrics(tenants=1)).values():
        if not hasattr(metric, "describe"):
            continue
        (family,) = metric.describe()
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = ", ".join(metric._labelnames) or "none"
        found.append((name, family.type, labels, _prose(family.documentation)))
    return found


if __name__ == "__main__":
    OPERATIONS.write_text(with_tables(OPERATIONS.read_text(encoding="utf-8")), encoding="utf-8")
