"""The command line: `bioreactor`."""

from bioreactor.cli.app import main

__all__ = ["main"]
