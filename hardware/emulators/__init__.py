"""Emulated devices: on a pseudo terminal each answers byte for byte as the real one does."""
