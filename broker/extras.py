"""What each service needs beyond the base: extras of the package, and a word where one is missing.

Loads nothing but the standard library's import machinery, so that every process can afford it.
"""

import sys
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

EXTRAS: Final["Mapping[str, tuple[str, ...]]"] = MappingProxyType(
    {
        "hub": ("apprise", "prometheus_client", "pyarrow", "tinydb"),
        "node": ("docker", "fastapi", "packaging", "pip", "pymodbus", "serial", "uvicorn"),
        "portal": (
            "brotli",
            "fastapi",
            "itsdangerous",
            "jinja2",
            "python_multipart",
            "uvicorn",
        ),
    }
)
"""Extra → the modules that it brings, as imported; a test compares them with `pyproject.toml`."""

REFUSED: Final = 78
"""Exit status where starting again would not help (EX_CONFIG)."""


class MissingExtraError(ImportError):
    """A part was installed without what it needs; the message says what to install."""


def missing(extra: str) -> str | None:
    """Return one sentence if modules of an extra are not installed, None if all are there."""
    absent = [module for module in EXTRAS[extra] if find_spec(module) is None]
    if not absent:
        return None
    return (
        f"the {extra} is not installed here ({', '.join(absent)} missing): "
        f"pip install 'bioreactor[{extra}]'"
    )


def require(extra: str) -> None:
    """Go on only where an extra is installed; a service's package says this first.

    Raises:
        MissingExtraError: It is not, and the package is imported.
        SystemExit: It is not, and the package is started with ``python -m``.
    """
    sentence = missing(extra)
    if sentence is None:
        return
    if sys.argv[0] == "-m":  # as long as Python looks for the module to run
        sys.stderr.write(f"{sentence}\n")
        raise SystemExit(REFUSED)
    raise MissingExtraError(sentence)
