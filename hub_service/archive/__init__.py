"""All that was recorded: samples, logs, events, results, finished experiments, who did what."""

from hub_service.archive.archive import Archive, PhaseEntry
from hub_service.archive.audits import Audit
from hub_service.archive.finished import Wanted
from hub_service.archive.runs import Run

__all__ = ["Archive", "Audit", "PhaseEntry", "Run", "Wanted"]
