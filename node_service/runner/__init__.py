"""The runner: the one small process of a node that holds the container engine."""
