"""Fixtures for all tests: real brokers, and a watch for what a test leaves behind."""

import inspect
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings

from broker.embedded import EmbeddedBroker, Kind
from tests.support import leaks
from tests.support.brokers import ROLES, Connector

# How long an example takes is the machine's business: a busy one fails nothing.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")


TESTS: Final = Path(__file__).parent
LONGEST_FIRST: Final = (
    "browser/test_accessible.py",
    "documentation/test_documentation.py",
    "integration/deployment/test_compose.py",
    "browser/test_queue_page.py",
    "browser/test_reactors.py",
    "browser/test_hostile.py",
    "faults/test_services_killed.py",
    "browser/test_experiment_page.py",
    "integration/test_main_job.py",
    "integration/deployment/test_machine.py",
    "integration/test_examples.py",
    "browser/test_upload.py",
    "faults/node/test_node_killed.py",
    "integration/portal/test_pages.py",
    "faults/test_killed_at_every_step.py",
    "browser/test_home.py",
    "browser/test_everybody.py",
    "integration/node/test_runs.py",
    "browser/test_snapshots.py",
    "browser/test_live.py",
    "browser/test_my_experiments.py",
    "integration/broker/test_sites.py",
    "integration/upgrades/test_upgrades.py",
    "integration/hardware/test_experiments.py",
    "browser/test_main_job.py",
    "faults/test_cluster.py",
    "faults/node/test_broker_away.py",
    "integration/runner/test_conformance.py",
    "integration/node/test_control.py",
    "unit/hardware/drivers/test_hearing.py",
    "integration/test_bad_input.py",
    "integration/test_openapi.py",
    "integration/test_guarded.py",
)
"""Files that take long: of several workers, one that begins such a file last keeps all waiting.

`pytest --durations=0` tells. The order of the others does not matter.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes longest first, and spread each folder over the whole run.

    What a browser does keeps the processors busy, unit tests mostly wait: side by side they take
    less time than one after the other. `make test` has the workers keep this order.
    """
    place = {TESTS / name: at for at, name in enumerate(LONGEST_FIRST)}
    gone = [path for path in place if not path.exists()]
    if gone:
        raise pytest.UsageError(f"tests/conftest.py orders files that are not there: {gone}")
    folders: defaultdict[str, list[Path]] = defaultdict(list)
    for path in sorted({item.path for item in items}, key=lambda p: (place.get(p, len(place)), p)):
        folders[Path(os.path.relpath(path, TESTS)).parts[0]].append(path)
    turn = {path: at / len(of) for of in folders.values() for at, path in enumerate(of)}
    items.sort(key=lambda item: (turn[item.path], item.path))


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a task, a thread or a child process behind."""
    if inspect.iscoroutinefunction(getattr(request.node, "function", None)):
        request.getfixturevalue("no_stray_tasks")
    threads, children = leaks.threads(), leaks.children()
    yield
    stray_threads, stray_children = leaks.wait_until_gone(threads, children)
    processes = [f"{pid} {leaks.describe(pid)}" for pid in sorted(stray_children)]
    leaks.kill(stray_children)
    if stray_threads or processes:
        pytest.fail(f"left behind: threads {stray_threads}, child processes {processes}")


@pytest.fixture
async def no_stray_tasks() -> AsyncIterator[None]:
    """Fail an async test that leaves a task behind; used by `nothing_left_behind`."""
    yield
    stray = await leaks.stray_tasks()
    if stray:
        pytest.fail(f"left behind: tasks {stray}")


@pytest.fixture(params=["mosquitto", "nats"])
def broker_kind(request: pytest.FixtureRequest) -> Kind:
    """Which broker; parametrize it to have a test run with one of them only."""
    kind: Kind = request.param
    return kind


@pytest.fixture
async def broker(broker_kind: Kind, tmp_path: Path) -> AsyncIterator[EmbeddedBroker]:
    """A real broker of the test's own, on free ports of loopback: it starts in 60 ms.

    Its users are `tests.support.brokers.ROLES`; connect with ``broker.settings_for("hub")`` or by
    the fixture `connect`.
    """
    async with EmbeddedBroker(tmp_path / "broker", roles=ROLES, kind=broker_kind) as running:
        yield running


@pytest.fixture
async def connect(broker: EmbeddedBroker) -> AsyncIterator[Connector]:
    """Open connections to the broker: ``connection = await connect("hub")``."""
    async with AsyncExitStack() as stack:
        yield Connector(broker, stack)


@pytest.fixture
async def queue_system(broker: EmbeddedBroker, tmp_path: Path) -> AsyncIterator[str]:
    """The address of a portal before a hub and a node that follows the contract."""
    from tests.support.queue_system import queue_system_on  # noqa: PLC0415  services cost start-up

    async with queue_system_on(broker, tmp_path) as address:
        yield address
