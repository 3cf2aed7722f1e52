import ipaddress
import os
import socket

import pytest

from broker.listening import addresses_of_port, free_port, listening


@pytest.mark.parametrize(
    ("family", "address", "seen"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET, "0.0.0.0", "0.0.0.0"),
        (socket.AF_INET6, "::1", "::1"),
        (socket.AF_INET6, "::", "::"),
    ],
)
def test_the_addresses_of_a_listener_are_seen(
    family: socket.AddressFamily, address: str, seen: str
) -> None:
    with socket.socket(family) as sock:
        sock.bind((address, 0))
        port = sock.getsockname()[1]
        assert addresses_of_port(port) == []
        sock.listen()
        assert [str(found) for found in addresses_of_port(port)] == [seen]
        assert (ipaddress.ip_address(seen), port) in listening(os.getpid())


def test_a_free_port_is_free() -> None:
    assert addresses_of_port(free_port()) == []
