"""Hub and node are killed before each step that becomes durable or public, both at once.

Two lives of each, which nobody kills, tell which steps there are (`Fate`): a first one, in which
its directory is made, and one after that. Then each step is the end of one life, while people go on
submitting, pausing, cancelling and collecting results; those that a first life alone takes end the
first life of a laboratory of their own.

Usually so many steps are taken, by chance but always the same, as the time allows, and of each kind
one before a second of any. ``BIOREACTOR_KILLS`` chooses: ``all`` takes all and says how far it is;
``40:80`` takes those from 40 up to 80 of hub and node, to go on where a run ended; a number takes
so many seconds of them.
"""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, nullcontext
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker, Kind
from broker.messages import Experiment
from tests.faults.laboratory import SCRIPTS, SERVICES, Laboratory, Service
from tests.faults.promises import check
from tests.integration.node.conftest import bare_recipe, image_cache
from tests.support.brokers import ROLES

__all__ = ["bare_recipe", "image_cache"]

ASKED = os.environ.get("BIOREACTOR_KILLS", "75")
THOROUGH = ASKED == "all" or ":" in ASKED
SECONDS = 3600.0 if THOROUGH else float(ASKED)
FROM, UP_TO = (int(n) if n else None for n in (ASKED if ":" in ASKED else ":").split(":"))
OF_A_KIND = 3
"""How often a kind of step is taken at most: its first ones in a life."""
SEED = 20260217
Steps = dict[Service, list[str]]


@pytest.fixture
def broker_kind() -> Kind:
    return "mosquitto"


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Say how far it is: at once, where that takes long."""

    def told(line: str) -> None:
        with capsys.disabled() if THOROUGH else nullcontext():
            print(line, flush=True)  # noqa: T201

    return told


def chosen(noted: Sequence[str]) -> list[str]:
    """Return the steps to die before: the first of each kind, then the second ones, …

    A step's place depends on its name: it hardly changes with which others there are.
    """

    def turn(one: str) -> int:
        return int(one.rpartition("#")[2])

    taken = [one for one in dict.fromkeys(noted) if turn(one) <= OF_A_KIND]
    return sorted(taken, key=lambda one: (turn(one), sha256(f"{SEED} {one}".encode()).hexdigest()))


async def found_by(lab: Laboratory) -> Steps:
    """Return the steps of a life of hub and node in which everything happens."""
    before = {s: len(noted_by(lab, s)) for s in SERVICES}
    async with lab.life("hub"), lab.life("node"):
        await lab.raise_limit()
        async with asyncio.timeout(60):
            await asyncio.gather(*(lab.do(kind) for kind in [*SCRIPTS][:2]))
            await asyncio.gather(lab.do("paused"), lab.do("cancelled"))
    return {s: chosen(noted_by(lab, s)[before[s] :]) for s in SERVICES}


def noted_by(lab: Laboratory, service: Service) -> list[str]:
    notes = lab.notes(service)
    return notes.read_text().splitlines() if notes.exists() else []


@pytest.mark.timeout(2 * SECONDS + 240)
async def test_killed_before_every_step(
    broker: EmbeddedBroker,
    tmp_path: Path,
    bare_recipe: Path,
    image_cache: Path,
    say: Callable[[str], None],
) -> None:
    async with Laboratory.open(tmp_path, broker, bare_recipe, image_cache) as lab:
        first, steps = await found_by(lab), await found_by(lab)
        working = asyncio.create_task(lab.everybody_works(SEED))
        try:
            died = await die_before({s: steps[s][FROM:UP_TO] for s in SERVICES}, lab, say)
            lab.late = True
            found = await brought_to_an_end(lab, working)
        finally:
            working.cancel()
        await check(lab, found)
    for service, ends in died.items():
        say(f"{service}: {len(ends)} of {len(steps[service])} steps killed it")
        say("  " + "\n  ".join(ends))
    assert min(map(len, died.values())) >= 3
    if THOROUGH and not FROM:
        only = {s: [one for one in first[s] if one not in steps[s]] for s in SERVICES}
        for number, (hub, node) in enumerate(zip_longest(*(only[s] for s in SERVICES))):
            say(f"in its first life, {number}: hub before {hub}, node before {node}")
            path = tmp_path / f"first-{number}"
            async with EmbeddedBroker(path / "broker", roles=ROLES, kind="mosquitto") as own:
                await die_first(path, own, bare_recipe, image_cache, {"hub": hub, "node": node})


async def die_before(
    steps: Mapping[Service, Sequence[str]], lab: Laboratory, say: Callable[[str], None]
) -> Steps:
    """Have each step end a life while everybody works; return those that came in time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SECONDS
    died: Steps = {"hub": [], "node": []}
    left = {*SERVICES}
    nobody_left = asyncio.Event()

    async def die_and_die(service: Service) -> None:
        for number, at in enumerate(steps[service], start=FROM or 0):
            began = loop.time()
            if began > deadline:
                break
            came = await lab.live_and_die(service, at)
            if came:
                died[service].append(at)
            said = "died" if came else "did not come to die"
            say(f"{service} {number}: {said} before {at}, {loop.time() - began:.1f} s")
        left.discard(service)
        if not left:
            nobody_left.set()
        async with lab.life(service):  # the other's steps may depend on it
            await nobody_left.wait()

    await asyncio.gather(*(die_and_die(service) for service in SERVICES))
    return died


async def die_first(
    path: Path,
    broker: EmbeddedBroker,
    recipe: Path,
    cache: Path,
    steps: Mapping[Service, str | None],
) -> None:
    """Have steps end the first life of hub and node; then all goes on as if nothing had been."""
    async with Laboratory.open(path, broker, recipe, cache) as lab:
        working = asyncio.create_task(lab.do("completed"))
        try:
            async with AsyncExitStack() as others:
                for service in SERVICES:
                    if steps[service] is None:
                        await others.enter_async_context(lab.life(service))
                await asyncio.gather(*(lab.live_and_die(s, at) for s, at in steps.items() if at))
            found = await brought_to_an_end(lab, working)
        finally:
            working.cancel()
        await check(lab, found)


async def brought_to_an_end(lab: Laboratory, working: asyncio.Task[None]) -> dict[str, Experiment]:
    """Let everybody have what they still wait for, undisturbed; return all experiments."""
    async with lab.life("hub"), lab.life("node"), asyncio.timeout(120):
        await working
        return {job.experiment_id: await lab.shown(job) for job in lab.jobs}
