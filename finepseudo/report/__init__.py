"""The report of a run: a table for the terminal and one self-contained HTML page, from the run folder's files alone."""

from finepseudo.report.summary import RoundSummary, Stat, SummaryRow, render_text, summary_table
from finepseudo.report.writing import write_report

__all__ = ["RoundSummary", "Stat", "SummaryRow", "render_text", "summary_table", "write_report"]
