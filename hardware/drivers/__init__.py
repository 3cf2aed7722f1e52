"""Drivers: each makes one device's channels readable and settable."""
