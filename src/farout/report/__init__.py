"""Pictures and the one-file HTML report; the only place that needs matplotlib."""

from farout.report.content import ReportContent
from farout.report.page import write_report

__all__ = ["ReportContent", "write_report"]
