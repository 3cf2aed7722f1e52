"""The node: runs scripts in containers and alone touches the hardware."""
