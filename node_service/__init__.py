"""The node: runs scripts in containers and alone touches the hardware."""

from broker.extras import require

require("node")
