"""Whether the reactors have what a script needs: channels, an image, packages."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from broker.messages import ErrorCode, ScriptInfo, ScriptProblem
from hub_service.queue.state import Offer
from hub_service.scripts.metadata import Dependency, Metadata
from hub_service.scripts.outline import Import
from hub_service.scripts.problems import NO_REMEDY, problem

OURS: Final = "bioreactor"
_SHOWN: Final = 20


def nobody_known() -> ScriptProblem:
    """Warn that no reactor has said what it offers."""
    return problem(
        ErrorCode.NO_SUITABLE_REACTOR,
        "no reactor has said yet what it offers, so imports and needs were not checked",
        "check again when a reactor is online",
        severity="warning",
    )


def candidates(info: ScriptInfo, offers: Mapping[str, Offer]) -> dict[str, Offer]:
    """Return the reactors that a script may name by reactor and image."""
    return {
        name: offer
        for name, offer in sorted(offers.items())
        if info.node in {None, name} and info.image in offer.images
    }


def lack(info: ScriptInfo, packages: Sequence[str], name: str, offer: Offer) -> str:
    """Return why a reactor cannot run a script, in a few words; empty: it can."""
    if info.node not in {None, name}:
        return f"the script is for {info.node}"
    if info.image not in offer.images:
        return f"it does not have the image {info.image}"
    channels = [need for need in info.needs if need not in offer.channels]
    if channels:
        return f"it does not have {some(channels)}"
    absent = [package[:80] for package in packages if package not in offer.images[info.image]]
    return f"its image does not have {some(absent)}" if absent else ""


def places(
    metadata: Metadata, offers: Mapping[str, Offer], candidates: Mapping[str, Offer]
) -> Iterator[ScriptProblem]:
    """Complain of a reactor, an image or channels that nobody has."""
    info, line_of = metadata.info, metadata.line_of
    code = ErrorCode.NO_SUITABLE_REACTOR
    if info.node is not None and info.node not in offers:
        near = difflib.get_close_matches(info.node, offers, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {some(offers)}"
        yield problem(code, f"there is no reactor {info.node}", hint, line_of("node"))
        return
    if not candidates:
        images = {image for offer in offers.values() for image in offer.images}
        hint = f"choose another; there are {some(images)}" if images else "ask its administrator"
        yield problem(code, f"no reactor has the image {info.image!r}", hint, line_of("image"))
        return
    channels = {channel for offer in candidates.values() for channel in offer.channels}
    for need in info.needs:
        if need not in channels:
            near = difflib.get_close_matches(need, channels, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {some(channels)}"
            yield problem(code, f"no reactor has the channel {need!r}", hint, line_of("needs"))


def union(offers: Mapping[str, Offer], image: str) -> dict[str, str] | None:
    """Return import name → distribution of all that the image offers; None: nobody has it."""
    found = [offer.images[image] for offer in offers.values() if image in offer.images]
    return {k: v for packages in found for k, v in packages.items()} if found else None


def imports(required: Sequence[Import], image: Mapping[str, str]) -> Iterator[ScriptProblem]:
    """Complain of imports that the image does not offer."""
    for found in required:
        if found.name in image:
            continue
        if found.optional:
            yield problem(
                ErrorCode.SCRIPT_IMPORT,
                f"{found.name[:80]!r} is not installed in the image; the script can do without it",
                NO_REMEDY,
                found.line,
                severity="warning",
            )
            continue
        near = difflib.get_close_matches(found.name[:80], image, n=1)
        there = f"there are {some(image)}, and Python's standard library"
        yield problem(
            ErrorCode.SCRIPT_IMPORT,
            f"{found.name[:80]!r} is not an allowed package",
            f"did you mean {near[0]}?" if near else there,
            found.line,
            package=found.name[:80],
        )


def dependencies(
    dependencies: Sequence[Dependency], image: Mapping[str, str]
) -> Iterator[ScriptProblem]:
    """Complain of declared dependencies that the image does not offer."""
    distributions = {_normal(name): name for name in image.values()}
    for declared in dependencies:
        if _normal(declared.name) in distributions or _normal(declared.name) == OURS:
            if declared.pinned:
                yield problem(
                    ErrorCode.SCRIPT_METADATA,
                    f"the image decides which version of {declared.name[:80]} runs",
                    "the version is recorded with the results",
                    declared.line,
                    severity="warning",
                )
            continue
        by_import = image.get(declared.name)
        near = difflib.get_close_matches(_normal(declared.name[:80]), distributions, n=1)
        if by_import is not None:
            hint = f"its distribution is called {by_import}"
        elif near:
            hint = f"did you mean {distributions[near[0]]}?"
        else:
            hint = f"there are {some(distributions.values())}"
        yield problem(
            ErrorCode.SCRIPT_IMPORT,
            f"the dependency {declared.name[:80]!r} is not an allowed package",
            hint,
            declared.line,
            package=declared.name[:80],
        )


def no_single(metadata: Metadata) -> ScriptProblem:
    """Complain that each need is met somewhere, but all of them nowhere."""
    return problem(
        ErrorCode.NO_SUITABLE_REACTOR,
        "no single reactor has all the channels and packages that it needs",
        "need less, or ask an administrator which reactor could have them",
        metadata.line_of("needs"),
    )


def all_away(suitable: Sequence[str]) -> ScriptProblem:
    """Warn that those who satisfy it are all offline."""
    names = ", ".join(suitable)
    return problem(
        ErrorCode.NO_SUITABLE_REACTOR,
        f"offline now: {names}; the experiment waits until it is back"
        if len(suitable) == 1
        else f"all reactors that satisfy it are offline now ({names}); it waits for one",
        NO_REMEDY,
        severity="warning",
    )


def _normal(name: str) -> str:
    """Return a distribution's name in its normal form; a version behind it is left out."""
    return re.sub(r"[-_.]+", "-", re.split(r"[ =<>!~;\[]", name.strip(), maxsplit=1)[0]).lower()


def some(names: Iterable[str]) -> str:
    """Return names as one text, the first of them if they are many."""
    listed = sorted(names)
    shown = ", ".join(listed[:_SHOWN]) or "none"
    return shown if len(listed) <= _SHOWN else f"{shown} and {len(listed) - _SHOWN} more"


def relative(imports: Sequence[Import]) -> Iterator[ScriptProblem]:
    """Complain of imports of files beside the script."""
    for found in imports:
        if found.relative:
            yield problem(
                ErrorCode.SCRIPT_IMPORT,
                "a file beside the script cannot be imported",
                "an experiment is one file: put the code into it",
                found.line,
            )
