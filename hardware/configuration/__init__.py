"""`reactor.toml`: which devices a reactor has, what they serve, and what may be done with it."""
