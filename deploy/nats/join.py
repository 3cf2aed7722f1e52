# ruff: noqa: INP001  a program, no part of a package
"""Have several sites share a cluster: see docs/guides/growing.md.

``python deploy/nats/join.py DIRECTORY ACCESS ACCESS…``: joins what the access directory of each
site says of who may do what, and writes it with the broker's certificate below DIRECTORY, into the
first host's folder; ``deploy/nats/spread`` brings it to the others. The sites must have one
authority.
"""

import shutil
import sys
from pathlib import Path

from broker.access.directory import AccessDirectory
from broker.access.register import Register
from broker.brokers import CA_CERTIFICATE, CERTIFICATE, KEY, nats_access
from broker.identity import write_private
from broker.messages import ContractError
from broker.topics import Topics


def main(directory: Path, sites: list[Path]) -> None:
    """Join them.

    Raises:
        ContractError: A register cannot be read.
        ValueError: Two sites share a root or the name of a principal, or have not one authority.
    """
    registers = [AccessDirectory(site).read() for site in sites]
    _check(registers)
    lists = [(register.roles, Topics(register.broker.root)) for register in registers]
    hashes = {name: known for register in registers for name, known in register.hashes.items()}
    first = min(path for path in directory.iterdir() if path.is_dir())
    write_private(first / "authorization.conf", nats_access(lists, hashes))
    for name in (CA_CERTIFICATE, CERTIFICATE, KEY):
        shutil.copy2(registers[0].broker.files / name, first)


def _check(registers: list[Register]) -> None:
    seen: set[str] = set()
    for register in registers:
        names = {f"root {register.broker.root}", *(f"principal {n}" for n in register.principals)}
        if twice := seen & names:
            raise ValueError(f"taken by two sites: {', '.join(sorted(twice))}")
        seen |= names
    if len({(r.broker.files / CA_CERTIFICATE).read_bytes() for r in registers}) > 1:
        raise ValueError("the sites have authorities of their own: link `authority` to the first's")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), [Path(site) for site in sys.argv[2:]])
    except (ContractError, OSError, ValueError) as error:
        sys.exit(f"join: {error}")
