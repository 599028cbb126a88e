"""A version's report, and an advice, as one self-contained HTML page each."""

from trunkline.html_report.advice_page import advice_page
from trunkline.html_report.page import report_page
from trunkline.html_report.tables import pictured

__all__ = ["advice_page", "pictured", "report_page"]
