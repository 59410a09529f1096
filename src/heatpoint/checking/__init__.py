"""Labels under examination: everything that is wrong with a set in one report, and skeleton files proposed from labels."""

from heatpoint.checking.findings import KINDS, Finding, Report
from heatpoint.checking.records import Part, Record, Source
from heatpoint.checking.run import check, open_data

__all__ = ["KINDS", "Finding", "Part", "Record", "Report", "Source", "check", "open_data"]
