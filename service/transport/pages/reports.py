"""A version's report as a page, as `trunkline report --html` writes it."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import Message

from trunkline.html_report import report_page
from trunkline.html_report.provenance import provenance
from trunkline.replies.reports import report as read_report
from trunkline.v1 import heads_pb2


def wants_page(headers: Mapping[str, str]) -> bool:
    """Returns whether a request takes HTML, and does not say that it takes JSON."""
    accept = headers.get("accept", "").lower()
    return "text/html" in accept and "application/json" not in accept


def page_of(reply: Message) -> str | None:
    """Writes a reply as a page; None for one that has no such form."""
    if not isinstance(reply, heads_pb2.GetHeadReportResponse):
        return None
    report = read_report(reply.report)
    pairs = report.near_duplicates
    named = [(row.digest, row.external_id) for row in report.likely_mislabelled]
    named += [(row.digest, row.external_id) for row in pairs]
    named += [(row.other_digest, row.other_external_id) for row in pairs]
    names = {digest: external_id for digest, external_id in named if external_id}
    return report_page(report, provenance(report), None, names)
