"""What a technician types: `bioreactor hardware check|monitor`."""
