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
    suspects, pairs = report.likely_mislabelled, report.near_duplicates
    named = [(suspect.digest, suspect.external_id) for suspect in suspects]
    named += [(pair.digest, pair.external_id) for pair in pairs]
    named += [(pair.other_digest, pair.other_external_id) for pair in pairs]
    names = {digest: external_id for digest, external_id in named if external_id}
    return report_page(report, provenance(report), None, names)
