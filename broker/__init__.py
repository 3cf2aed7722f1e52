"""The contract between portal, hub and nodes, and the connection that carries it.

Every other package may import this one; it imports none of them.
"""

VERSION: str


def __getattr__(name: str) -> str:
    """Return `VERSION`, looked up at its first use: small processes do without."""
    if name != "VERSION":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    try:
        found = version("bioreactor")
    except PackageNotFoundError:  # run from a source tree that was never installed
        found = "0+source"
    globals()["VERSION"] = found
    return found
