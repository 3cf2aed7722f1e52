"""Experiment scripts, checked before they are queued: every complaint has a line and a remedy."""

from hub_service.scripts.check import Checker, Verdict
from hub_service.scripts.metadata import Metadata, parse
from hub_service.scripts.parameters import changed

__all__ = ["Checker", "Metadata", "Verdict", "changed", "parse"]
