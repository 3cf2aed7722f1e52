"""Looking over the data directory of a hub that does not run: `bioreactor hub check`."""
