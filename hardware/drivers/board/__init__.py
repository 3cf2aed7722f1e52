"""Our controller board: stirrer, heater, light and optical density.

Specification: docs/reference/board-protocol.md.
"""
