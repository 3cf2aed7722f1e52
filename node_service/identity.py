"""Who a node is."""

from dataclasses import dataclass
from typing import Final

LOCAL: Final = "node"
"""Who engaged an emergency stop where it was done on the node itself."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is.

    Attributes:
        boot_id: Fresh at every start.
    """

    node: str
    label: str
    boot_id: str
