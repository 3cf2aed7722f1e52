"""The reference of what people import, from docstrings."""

import inspect
import re
from types import ModuleType
from typing import Final

from bioreactor import experiment, lab, reactor
from tools.docs.markdown import docstring, fence

INTRODUCTION: Final = """\
# Python

`bioreactor.experiment` and `bioreactor.reactor` are what an experiment imports; they need nothing
but the standard library. `bioreactor.lab` is for programs of the laboratory that speak to the hub.

"""


def sdk() -> str:
    """Return the page about the modules, their functions and classes."""
    return INTRODUCTION + "\n".join(_module(module) for module in (reactor, experiment, lab))


def _module(module: ModuleType) -> str:
    short = module.__name__.rpartition(".")[2]
    out = [f"## {module.__name__}\n", docstring(module.__doc__)]
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    ]
    things = {name: getattr(module, name) for name in sorted(names)}
    for name, thing in things.items():
        if inspect.isfunction(thing):
            out.append(_function(f"{short}.{name}", thing, level=3))
    for name, thing in things.items():
        if inspect.isclass(thing):
            out.append(_class(name, thing))
    return "\n".join(out)


def _function(name: str, function: object, *, level: int) -> str:
    assert callable(function)  # noqa: S101 - narrows the type
    signature = str(inspect.signature(function)).replace("(self, ", "(").replace("(self)", "()")
    prefix = "await " if inspect.iscoroutinefunction(inspect.unwrap(function)) else ""
    return (
        f"{'#' * level} `{name}`\n\n"
        + fence(f"{prefix}{name}{_readable(signature)}", "python")
        + docstring(function.__doc__)
    )


def _class(name: str, thing: type) -> str:
    bases = [base.__name__ for base in thing.__bases__ if base is not object]
    title = f"### `{name}`\n"
    out = [title, docstring(thing.__doc__)]
    if issubclass(thing, Exception):
        out.append(f"A `{'`, `'.join(bases)}`.\n")
        return "\n".join(out)
    for key, value in vars(thing).items():
        if inspect.isfunction(value) and not key.startswith("_") and value.__doc__:
            out.append(_function(key, value, level=4))
    return "\n".join(out)


def _readable(signature: str) -> str:
    """Return a signature without the modules that types come from."""
    for module in ("bioreactor.experiment.", "bioreactor.reactor.", "bioreactor.lab.", "typing.",
                   "collections.abc.", "pathlib.", "datetime."):  # fmt: skip
        signature = signature.replace(module, "")
    return re.sub(r"\bbroker\.messages\.(?:[a-z]+\.)?", "", signature)
