"""What the experiment image is made of: the allow-list, its lock, and our SDK."""

import hashlib
import importlib.util
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from node_service.runner.interface import RunnerError

T = TypeVar("T")

DEFAULT: Final = Path(__file__).parent
"""Holds `packages.toml` and `requirements.lock`, and the two Dockerfiles."""

BUNDLED: Final = "bundled"
"""In the settings, in place of a directory: the allow-list that comes with the node."""

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
        wanted, imports = _parse(directory)
        return cls(wanted, imports, (directory / "requirements.lock").read_text(encoding="utf-8"))

    def versions(self, target: Target) -> Mapping[str, str]:
        """Return what an image for the target holds: normal name of a distribution → version."""
        found: dict[str, str] = {}
        for first, *_ in _entries(self.locked_for(target)):
            requirement = Requirement(first)
            (pin,) = requirement.specifier
            found[canonicalize_name(requirement.name)] = pin.version
        return found

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


@dataclass(frozen=True, slots=True)
class Built:
    """An image that is there.

    Attributes:
        size: Bytes, those that it shares with other images included.
        as_wanted: Whether its labels say that it was made of what the recipe says now.
    """

    digest: str
    size: int
    as_wanted: bool


def known(allowed: Mapping[str, T], image: str) -> T:
    """Return what an image's name stands for.

    Raises:
        RunnerError: NOT_FOUND, there is no such image.
    """
    if image not in allowed:
        hint = f"this node has {', '.join(allowed)}"
        raise RunnerError(f"there is no image called {image}", hint, "NOT_FOUND")
    return allowed[image]


def wanted_in(directory: Path) -> Mapping[str, str]:
    """Return what `packages.toml` wants: distribution → version specifier.

    Raises:
        OSError: It is missing.
        ValueError: It is damaged.
    """
    return _parse(directory)[0]


def load_all(recipes: Mapping[str, Path]) -> Mapping[str, AllowList]:
    """Read the allow-lists of all images.

    Raises:
        RunnerError: One is missing or damaged; says which and why.
    """
    loaded = {}
    for name, directory in recipes.items():
        try:
            loaded[name] = AllowList.load(directory)
        except (OSError, ValueError) as error:
            raise RunnerError(
                f"the image {name} cannot be offered: {error}",
                f"see packages.toml and requirements.lock in {directory}; "
                f"`bioreactor image lock {name}` makes the lock anew",
            ) from error
    return loaded


def recipes_of(images: Mapping[str, str]) -> Mapping[str, Path]:
    """Return image name → directory of its allow-list, as the settings name them.

    Args:
        images: Name → directory, or `BUNDLED`; empty is the one image that comes with the node.
    """
    named = images or {"standard": BUNDLED}
    return {name: DEFAULT if at == BUNDLED else Path(at) for name, at in named.items()}


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


def _parse(directory: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return distribution → wanted version, and import name → distribution."""
    text = (directory / "packages.toml").read_text(encoding="utf-8")
    document: Mapping[str, Any] = tomllib.loads(text)
    wanted: dict[str, str] = {}
    imports: dict[str, str] = {}
    for name, entry in document.get("packages", {}).items():
        match entry:
            case {"version": str(version), "imports": [*modules]} if all(
                isinstance(module, str) and module.isidentifier() for module in modules
            ):
                wanted[name] = version
                imports |= dict.fromkeys(modules, name)
            case _:
                raise ValueError(f"packages.{name} needs a version and a list of imports")
    return wanted, imports


def _entries(lock: str) -> Iterable[Sequence[str]]:
    """Give each requirement of a lock as its parts: the requirement, then its hashes."""
    for logical in re.sub(r"\\\n\s*", "\0", lock).splitlines():
        if logical.strip() and not logical.startswith("#"):
            yield [part.strip() for part in logical.split("\0")]
