"""A version's report as one self-contained HTML page."""

from trunkline.reporting.page import report_page

__all__ = ["report_page"]
