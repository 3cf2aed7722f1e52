"""What clients of plain HTTP are given for TLS."""

import ssl
from typing import Final

PLAIN: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody. Left to itself each client reads whom the machine trusts: 46 ms of a processor."""
