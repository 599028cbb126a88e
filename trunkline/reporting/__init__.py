"""A version's report, and an advice, as one self-contained HTML page each."""

from trunkline.reporting.advice_page import advice_page
from trunkline.reporting.page import report_page

__all__ = ["advice_page", "report_page"]
