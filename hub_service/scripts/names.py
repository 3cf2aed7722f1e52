"""Whether the names that a script uses are there: those of the SDK, and channels."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from bioreactor import experiment, reactor
from broker.messages import ErrorCode, ScriptProblem
from hub_service.scripts.fit import OURS, some
from hub_service.scripts.outline import Use
from hub_service.scripts.problems import problem

_MODULES: Final = {module.__name__.rpartition(".")[2]: module for module in (experiment, reactor)}
_THERE: Final[Mapping[str, frozenset[str]]] = {
    # Of the package itself what is in the container, which has not all of it.
    "": frozenset({*_MODULES, "_gateway"}),
    **{name: frozenset(dir(module)) for name, module in _MODULES.items()},
}
_OFFERED: Final[Mapping[str, Sequence[str]]] = {
    "": tuple(_MODULES),
    **{name: tuple(module.__all__) for name, module in _MODULES.items()},
}
_NEAR: Final = 0.7
"""What is less alike is not suggested: `get` is like `set`, and `read` is meant."""


def unknown(uses: Sequence[Use]) -> Iterator[ScriptProblem]:
    """Complain of names that the SDK does not have."""
    for use in uses:
        there = _THERE.get(use.module)
        if there is None or use.name in there or use.name.startswith("__"):
            continue
        offered = _OFFERED[use.module]
        near = difflib.get_close_matches(use.name[:80], offered, n=1, cutoff=_NEAR)
        functions = [name for name in offered if name.islower()]
        yield problem(
            ErrorCode.SCRIPT_IMPORT,
            f"{use.module or OURS} has no {use.name[:80]!r}"
            + ("; the script can do without it" if use.optional else ""),
            f"did you mean {near[0]}?" if near else f"it has {some(functions)}",
            use.line,
            severity="warning" if use.optional else "error",
        )


def absent(uses: Sequence[Use], channels: AbstractSet[str]) -> Iterator[ScriptProblem]:
    """Warn of channels that are not among those of the reactors that it may run on."""
    for use in uses:
        if use.channel is None or use.channel in channels:
            continue
        near = difflib.get_close_matches(use.channel[:80], channels, n=1)
        yield problem(
            ErrorCode.NO_SUITABLE_REACTOR,
            f"no reactor that can run it has the channel {use.channel[:80]!r}",
            f"did you mean {near[0]}?" if near else f"there are {some(channels)}",
            use.line,
            severity="warning",
        )
