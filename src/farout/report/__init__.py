"""The HTML report of a run: one self-contained file."""

from farout.report.content import ReportContent
from farout.report.page import write_report

__all__ = ["ReportContent", "write_report"]
