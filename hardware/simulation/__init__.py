"""A simulated vial: a driver that answers as a real reactor with a growing culture would."""
