"""The check that every script passes before it is queued.

It is a courtesy to the author and no wall: what a script can reach is decided by its container.
"""

import asyncio
import hashlib
import sys
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final

from broker.messages import (
    Checked,
    ContractError,
    ErrorCode,
    Parameters,
    QueueLimits,
    ScriptInfo,
    ScriptProblem,
)
from hub_service.queue.state import NodeState, Offer
from hub_service.scripts import fit, names
from hub_service.scripts.metadata import MAX_COMPLAINTS, Metadata, parse
from hub_service.scripts.outline import Outline, outline
from hub_service.scripts.parameters import effective
from hub_service.scripts.problems import NO_REMEDY, problem
from hub_service.scripts.readable import syntax, unreadable

MAX_PACKAGES: Final = 200
"""More than any image offers; what is beyond was complained of."""
MAX_REMEMBERED: Final = 16 * 1024
"""Characters of a script whose reading is kept: a longer one may import too much to be kept."""
_ALWAYS: Final = sys.stdlib_module_names | {fit.OURS, "__future__"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the check found.

    Attributes:
        packages: Import names that the image must offer.
        parameters: Declared defaults overridden by what was given.
        suitable: Reactors that satisfy it, as far as they have said what they offer.
        unsuitable: Why the others do not, in a few words.
    """

    problems: tuple[ScriptProblem, ...]
    info: ScriptInfo
    sha256: str
    packages: tuple[str, ...] = ()
    parameters: Parameters = field(default_factory=dict)
    suitable: tuple[str, ...] = ()
    unsuitable: Mapping[str, str] = field(default_factory=dict)

    @property
    def errors(self) -> tuple[ScriptProblem, ...]:
        """The problems that keep it out of the queue."""
        return tuple(p for p in self.problems if p.severity == "error")

    @property
    def warnings(self) -> tuple[str, ...]:
        """The others, as sentences with their remedy."""
        told = (p.error for p in self.problems if p.severity == "warning")
        return tuple(e.message if e.hint == NO_REMEDY else f"{e.message}; {e.hint}" for e in told)

    @property
    def checked(self) -> Checked:
        """The verdict as the contract tells it."""
        return Checked(
            ok=not self.errors,
            problems=self.problems,
            script=self.info,
            suitable_nodes=self.suitable,
            unsuitable_nodes=self.unsuitable,
        )

    def demand_ok(self) -> None:
        """Return if the script may be queued.

        Raises:
            ContractError: The first error; its details hold all problems.
        """
        if not self.errors:
            return
        first = self.errors[0].error
        more = len(self.errors) - 1
        raise ContractError(
            first.code,
            first.message + (f" (and {more} more)" if more else ""),
            first.hint,
            **first.details,
            problems=[p.model_dump(mode="json", exclude_none=True) for p in self.problems],
        )


class Checker:
    """Checks scripts without running them.

    Args:
        at_once: How many large scripts are compiled at a time, each in a process of its own.
        remembered: Scripts whose reading is kept: pages check a script before it is submitted.
    """

    def __init__(self, at_once: int = 2, remembered: int = 32) -> None:
        self._children = asyncio.Semaphore(at_once)
        self._remembered = remembered
        self._read: OrderedDict[str, _Read] = OrderedDict()

    async def check(
        self,
        script: str,
        given: Parameters,
        nodes: Mapping[str, NodeState],
        limits: QueueLimits,
    ) -> Verdict:
        """Return what is to be said of a script.

        Args:
            script: As it came.
            given: Parameters of the submission.
            nodes: Reactors, as known now.
            limits: Of size and duration, as the queue has them now.
        """
        sha256 = hashlib.sha256(script.encode(errors="replace")).hexdigest()
        illegible = unreadable(script, limits.max_script)
        if illegible is not None:
            return Verdict((illegible,), ScriptInfo(), sha256)
        known = read = self._read.get(sha256)
        if read is None:
            read = _Read(await outline(script, self._children), *parse(script))
        if _doubtful(read.outline, nodes):
            sure = await outline(script, self._children, sure=True)
            if sure.error is not None:  # a tree takes more memory than compiling
                sure = replace(read.outline, uses=(), surmised=False)
            read = replace(read, outline=sure)
        if read is not known:
            if len(script) <= MAX_REMEMBERED:
                self._read[sha256] = read
            if len(self._read) > self._remembered:
                self._read.popitem(last=False)
        return _judge(sha256, read, given, nodes, limits.max_duration)


@dataclass(frozen=True, slots=True)
class _Read:
    """What stands in a script, whatever it is held against."""

    outline: Outline
    metadata: Metadata
    problems: tuple[ScriptProblem, ...]


def _doubtful(outlined: Outline, nodes: Mapping[str, NodeState]) -> bool:
    """Whether surmised uses give cause for complaint, so that a syntax tree has to tell."""
    if not outlined.surmised:
        return False
    if any(names.unknown(outlined.uses)):
        return True
    offers = [node.offer.channels for node in nodes.values() if node.offer is not None]
    return bool(offers) and any(names.absent(outlined.uses, frozenset.intersection(*offers)))


def _channels(offers: Iterable[Offer]) -> frozenset[str]:
    return frozenset(channel for offer in offers for channel in offer.channels)


def _judge(
    sha256: str,
    read: _Read,
    given: Parameters,
    nodes: Mapping[str, NodeState],
    max_duration: float,
) -> Verdict:
    outlined, metadata, problems = read.outline, read.metadata, read.problems
    wrong = syntax(outlined)
    if wrong is not None:
        return Verdict((wrong, *problems), metadata.info, sha256)
    parameters, wrong_parameters = effective(metadata.info.parameters, given)
    problems += wrong_parameters + tuple(_too_long(metadata, max_duration))
    offers = {name: node.offer for name, node in nodes.items() if node.offer is not None}
    required = [i for i in outlined.imports if i.name not in _ALWAYS and not i.relative]
    packages = tuple(dict.fromkeys(i.name for i in required if not i.optional))[:MAX_PACKAGES]
    problems += tuple(islice(fit.relative(outlined.imports), MAX_COMPLAINTS))
    problems += tuple(islice(names.unknown(outlined.uses), MAX_COMPLAINTS))
    if not offers:
        problems += (fit.nobody_known(),)
        return Verdict(problems, metadata.info, sha256, packages, parameters)
    candidates = fit.candidates(metadata.info, offers)
    problems += tuple(islice(fit.places(metadata, offers, candidates), MAX_COMPLAINTS))
    image = fit.union(candidates or offers, metadata.info.image)
    if image is not None:
        problems += tuple(islice(fit.imports(required, image), MAX_COMPLAINTS))
        problems += tuple(islice(fit.dependencies(metadata.dependencies, image), MAX_COMPLAINTS))
    unsuitable = {
        name: why
        for name, offer in offers.items()
        if (why := fit.lack(metadata.info, packages, name, offer))
    }
    suitable = tuple(name for name in sorted(offers) if name not in unsuitable)
    channels = _channels(offers[name] for name in suitable or candidates or offers)
    problems += tuple(islice(names.absent(outlined.uses, channels), MAX_COMPLAINTS))
    if not suitable and not any(p.severity == "error" for p in problems):
        problems += (fit.no_single(metadata),)
    if suitable and not any(nodes[name].online for name in suitable):
        problems += (fit.all_away(suitable),)
    return Verdict(problems, metadata.info, sha256, packages, parameters, suitable, unsuitable)


def _too_long(metadata: Metadata, limit: float) -> Iterator[ScriptProblem]:
    declared, expected = metadata.info.max_duration, metadata.info.duration
    allowed = limit if declared is None else declared
    if expected is not None and expected > allowed:
        yield problem(
            ErrorCode.SCRIPT_METADATA,
            f"duration is {expected:g} s, but it is stopped after {allowed:g} s",
            "declare a longer max_duration"
            if declared is not None
            else "expect less, or ask an administrator to raise the queue's limit",
            metadata.line_of("duration"),
            field="duration",
        )
    if declared is not None and declared > limit:
        yield problem(
            ErrorCode.SCRIPT_METADATA,
            f"max_duration is {declared:g} s, the queue allows {limit:g} s",
            "declare less, or ask an administrator to raise the limit",
            metadata.line_of("max_duration"),
            field="max_duration",
        )
