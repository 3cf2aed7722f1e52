"""Measurements, each side by side with the raw limit or a peer in the same run."""
