"""The reactor: channels, safety rules, drivers and the simulation."""
