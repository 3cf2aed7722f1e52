import ipaddress
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from broker.listening import free_port, listeners, listening


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
        assert listeners(port) == []
        sock.listen()
        assert [(str(found), at) for found, at in listeners(port)] == [(seen, port)]
        assert (ipaddress.ip_address(seen), port) in listening(os.getpid())


def test_a_free_port_is_free() -> None:
    assert listeners(free_port()) == []


def test_the_kernel_takes_no_port_that_was_given() -> None:
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    if low < 21000:
        pytest.skip("this kernel gives away nearly all ports")
    assert all(port < low for port in (free_port() for _ in range(500)))


def test_a_port_in_use_is_not_given() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        assert port not in {free_port() for _ in range(500)}


FORKS = """
import os
from broker.listening import free_port
print(*(free_port() for _ in range(100)), flush=True)
child = os.fork()
if child:
    os.waitpid(child, 0)
else:
    print(*(free_port() for _ in range(100)), flush=True)
"""


def test_no_two_processes_are_given_one_port() -> None:
    ours = [free_port() for _ in range(100)]
    command = [sys.executable, "-c", FORKS]
    theirs = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert len({*ours, *map(int, theirs)}) == 300
