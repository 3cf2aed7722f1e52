"""Reference firmware of the controller board, for MicroPython on an RP2040.

The protocol is specified in `docs/reference/board-protocol.md`.
"""
