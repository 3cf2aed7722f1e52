"""Who a node is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is.

    Attributes:
        boot_id: Fresh at every start.
    """

    node: str
    label: str
    boot_id: str
