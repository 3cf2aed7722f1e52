"""Firmware of the devices that we build ourselves; the part of `board/` runs on MicroPython."""
