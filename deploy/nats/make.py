# ruff: noqa: INP001  a program, no part of a package
"""Write the configuration of a cluster's servers: see docs/guides/growing.md.

``python deploy/nats/make.py DIRECTORY HOST HOST HOST``: below DIRECTORY each host gets a folder
with its ``nats.conf``. ``authorization.conf`` beside it says who may what; here nobody.
"""

import secrets
import sys
from pathlib import Path

from broker.brokers import Cluster, Ports, nats_files
from broker.identity import write_private
from broker.topics import Topics

MQTT_PORT, CLUSTER_PORT = 1883, 6222


def main(directory: Path, hosts: list[str]) -> None:
    """Write them; the password of the servers among themselves is made here and told nobody."""
    password = secrets.token_hex(32)
    for host in hosts:
        cluster = Cluster(
            server=host,
            host=host,
            port=CLUSTER_PORT,
            others=[f"{other}:{CLUSTER_PORT}" for other in hosts if other != host],
            password=password,
        )
        folder = directory / host
        folder.mkdir(parents=True, mode=0o700)
        ports = Ports(MQTT_PORT, encrypted=True)
        for name, text in nats_files((), {}, Topics(), ports, cluster).items():
            write_private(folder / name, text)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
