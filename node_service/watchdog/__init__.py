"""The process that makes the reactor safe when the node's own process cannot."""
