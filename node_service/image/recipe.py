"""What the experiment image is made of: the allow-list, its lock, and our SDK."""

import hashlib
import importlib.util
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from packaging.requirements import Requirement

DEFAULT: Final = Path(__file__).parent
"""Holds `packages.toml` and `requirements.lock`, and the two Dockerfiles."""

PYTHON: Final = "3.11"
"""Version of Python in the image."""

_SDK: Final = ("__init__.py", "_gateway.py", "experiment.py", "py.typed", "reactor.py")
_NEWEST_GLIBC: Final = 36
"""Minor version of the C library in Debian 12; wheels for newer ones would not load."""


@dataclass(frozen=True, slots=True)
class Target:
    """The machine and Python that packages are for.

    Attributes:
        python: For example ``3.11``.
        machine: ``x86_64`` or ``aarch64``.
    """

    python: str
    machine: str

    def platforms(self) -> Sequence[str]:
        """Return the tags of wheels that run there, newest first."""
        newer = [f"manylinux_2_{minor}_{self.machine}" for minor in range(_NEWEST_GLIBC, 4, -1)]
        return [*newer, f"manylinux2014_{self.machine}", f"linux_{self.machine}"]


@dataclass(frozen=True, slots=True)
class AllowList:
    """The packages that scripts may import.

    Attributes:
        wanted: Distribution → version specifier.
        imports: Import name → distribution.
        lock: Text of `requirements.lock`.
    """

    wanted: Mapping[str, str]
    imports: Mapping[str, str]
    lock: str

    @classmethod
    def load(cls, directory: Path = DEFAULT) -> Self:
        """Read `packages.toml` and `requirements.lock`.

        Raises:
            OSError: One of them is missing.
            ValueError: One of them is damaged.
        """
        document: dict[str, Any] = tomllib.loads((directory / "packages.toml").read_text())
        packages = document.get("packages", {})
        return cls(
            wanted={name: str(entry["version"]) for name, entry in packages.items()},
            imports={
                module: name for name, entry in packages.items() for module in entry["imports"]
            },
            lock=(directory / "requirements.lock").read_text(),
        )

    def locked_for(self, target: Target) -> str:
        """Return the lock without what is meant for other machines and Pythons.

        Every line names one version and its hashes; pip itself would judge the conditions by the
        Python that it runs on.
        """
        environment = {
            "implementation_name": "cpython",
            "os_name": "posix",
            "platform_machine": target.machine,
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": f"{target.python}.0",
            "python_version": target.python,
            "sys_platform": "linux",
        }
        kept = []
        for entry in _entries(self.lock):
            first, *hashes = entry
            requirement = Requirement(first)
            if requirement.marker is None or requirement.marker.evaluate(environment):
                requirement.marker = None
                kept.append(" \\\n    ".join([str(requirement), *hashes]) + "\n")
        return "".join(kept)


def sdk_files() -> Mapping[str, bytes]:
    """Return the files of our package that live in the image."""
    spec = importlib.util.find_spec("bioreactor")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the package bioreactor is not installed")
    directory = Path(spec.submodule_search_locations[0])
    return {name: (directory / name).read_bytes() for name in _SDK}


def digest(parts: Iterable[str | bytes]) -> str:
    """Return a hash over all parts and their borders, in hexadecimal."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        whole.update(len(data).to_bytes(8, "big"))
        whole.update(data)
    return whole.hexdigest()


def _entries(lock: str) -> Iterable[Sequence[str]]:
    """Give each requirement of a lock as its parts: the requirement, then its hashes."""
    for logical in re.sub(r"\\\n\s*", "\0", lock).splitlines():
        if logical.strip() and not logical.startswith("#"):
            yield [part.strip() for part in logical.split("\0")]
