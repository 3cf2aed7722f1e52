"""The contract between portal, hub and nodes, and the connection that carries it.

Every other package may import this one; it imports none of them.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("bioreactor")
except PackageNotFoundError:  # run from a source tree that was never installed
    VERSION = "0+source"
