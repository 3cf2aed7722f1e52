"""Calibrations: what a device says, brought to what is true; dated, with what they were made of."""
