"""The node's process: ``python -m node_service --config FILE``; here everything is wired."""

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from ulid import ULID

from broker import VERSION
from broker.connection import Connection, Presence, SubscriptionRefusedError
from broker.database import DatabaseError
from broker.health import Health, serve
from broker.identity import stable_client_id
from broker.journal import Journal
from broker.logs import about, set_up
from broker.messages import ContractError, ErrorCode, Estop, ServiceStatus, utc_now
from broker.settings import BrokerSettings, SettingsError, load_settings
from broker.systemd import Systemd
from broker.topics import Topic
from hardware.drivers.interface import DriverError
from node_service.datadir import DataDir, owned, owner
from node_service.identity import LOCAL, Identity
from node_service.isolation import choose
from node_service.ledger import Ledger
from node_service.ledger_file import read_estop
from node_service.reactors import ReactorError, choose_reactor
from node_service.runner.interface import RunnerError
from node_service.runner.process import RunnerProcess, RunnerSettings, SeparateRunner
from node_service.settings import NodeSettings
from node_service.watchdog.process import Watchdog

if TYPE_CHECKING:
    from node_service.service import NodeService

REFUSED: Final = 78
"""Exit status where starting again would not help (EX_CONFIG)."""
ESTOP_SECONDS: Final = 5.0

log = logging.getLogger("node_service")


def main() -> None:
    """Run the node, or engage its emergency stop, as the command line says."""
    parser = argparse.ArgumentParser("node_service", description=__doc__)
    parser.add_argument("--config", type=Path, help="TOML file with [node] and [broker]")
    parser.add_argument(
        "--estop",
        action="store_true",
        help="engage the emergency stop of the node with this configuration, running or not",
    )
    options = parser.parse_args()
    try:
        settings = load_settings(NodeSettings, "node", options.config)
        if options.estop:
            _engage(DataDir(settings.data_dir))
            return
        broker = load_settings(BrokerSettings, "broker", options.config)
        set_up(settings.log_format, settings.log_level, (broker.secret(),))
        # Who owns the directory is sent it, and it waits for its handler.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        with about(node=settings.id), owned(DataDir(settings.data_dir)):
            asyncio.run(run(settings, broker))
    except ContractError as error:
        _refuse(f"{error}; {error.error.hint}")
    except RunnerError as error:
        _refuse(f"{error.message}; {error.hint}")
    except (SettingsError, DatabaseError, SubscriptionRefusedError, ReactorError) as error:
        _refuse(str(error))
    except DriverError as error:
        _fail(error)
    except OSError as error:
        if error.filename is None:
            raise
        _refuse(f"{error.filename}: {error.strerror}")
    except ExceptionGroup as group:
        silent = group.subgroup(DriverError)
        if silent is None:
            raise
        _fail(silent)


async def run(
    settings: NodeSettings,
    broker: BrokerSettings,
    *,
    connect: Callable[..., Connection] = Connection,
    make_runner: Callable[[RunnerSettings], RunnerProcess] = RunnerProcess,
) -> None:
    """Serve until SIGINT or SIGTERM, in a data directory that is owned already.

    Raises:
        ContractError: The ledger cannot be used.
        DatabaseError: The journal cannot be used.
        RunnerError: The runner cannot do its work on this machine.
        ReactorError: The reactor cannot be used.
        SubscriptionRefusedError: The broker does not let this principal read what nodes read.
    """
    separate = settings.runner == "separate"
    kind = "docker" if separate else choose(settings)
    stopping, local_stop = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGUSR1, local_stop.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    directory = DataDir(settings.data_dir)
    boot_id = str(ULID())
    runner_settings = RunnerSettings(
        kind=kind,
        node=settings.id,
        directory=directory.runner,
        base_image=settings.base_image,
        runtime=settings.runtime,
        cache=settings.cache_dir,
        images=settings.images,
    )
    runner = SeparateRunner(runner_settings) if separate else make_runner(runner_settings)
    client_id = stable_client_id(directory.client_id, "node")
    connection = connect(broker, client_id=client_id)
    servers = broker.servers if connection.several else ()
    presence = Presence(
        connection,
        connection.topics.build(Topic.NODE_STATUS, node=settings.id),
        ServiceStatus(state="online", version=VERSION, boot_id=boot_id, since=utc_now()),
    )
    chosen = choose_reactor(settings, directory)
    reactor = chosen.reactor
    with (
        closing(Ledger.open(directory.ledger)) as ledger,
        closing(Journal.open(directory.journal, budget_bytes=settings.journal_budget)) as journal,
    ):
        watchdog = Watchdog(
            directory,
            reactor.rescues,
            patience=settings.hang_after,
            safe=lambda: reactor.safe,
        )
        reactor.on_progress(lambda within: watchdog.beat("control loop", within))
        # The watchdog is the last to be left: it takes whoever is slow to close for alive.
        async with watchdog, _kept(runner, stopping):
            # Half of the start is this import; runner and watchdog come up meanwhile.
            service_class = asyncio.create_task(asyncio.to_thread(_load_service))
            await watchdog.ready()
            async with reactor, connection:
                service = (await service_class)(
                    Identity(settings.id, chosen.label, boot_id),
                    ledger=ledger,
                    journal=journal,
                    reactor=reactor,
                    connection=connection,
                    ears=[
                        connect(server, client_id=f"{client_id}-{number}")
                        for number, server in enumerate(servers, start=1)
                    ],
                    presence=presence,
                    runner=runner.client,
                    watchdog=watchdog,
                    runs=runner_settings.runs,
                    simulated=chosen.simulated,
                    sample_interval=settings.sample_interval,
                    on_exit=settings.on_exit,
                    portals=settings.portals,
                    manual_hold=settings.manual_hold,
                    taken=directory.taken,
                )
                judge = partial(_judge, connection, settings.id)
                async with serve(directory.path, judge), Systemd.of().told():
                    await service.run(stopping, local_stop)
    log.info("the node has stopped; its reactor is safe")


def _load_service() -> "type[NodeService]":
    from node_service.service import NodeService  # noqa: PLC0415

    return NodeService


@asynccontextmanager
async def _kept(
    runner: RunnerProcess | SeparateRunner, stopping: asyncio.Event
) -> AsyncIterator[None]:
    """Keep the runner's process while the block runs; if it cannot work, have the node stop.

    Raises:
        RunnerError: The runner cannot do its work on this machine.
    """

    async def keep() -> None:
        try:
            await runner.run()
        finally:
            stopping.set()

    running = asyncio.create_task(keep(), name="runner")
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait([running])
    if not running.cancelled():
        await running


def _judge(connection: Connection, node: str) -> Health:
    """Say how the node is: a node that answers is well, whatever becomes of the broker."""
    broker = "is connected" if connection.connected else "goes on without its broker"
    return Health(alive=True, ready=True, sentence=f"{node} runs and {broker}")


def _engage(directory: DataDir) -> None:
    """Engage the emergency stop: of the running node by a signal, else on the disk.

    Which of the two may change meanwhile: a node that dies on the way leaves it to us.

    Raises:
        ContractError: The ledger cannot be used.
    """
    deadline = time.monotonic() + ESTOP_SECONDS
    told: set[int | None] = set()
    while True:
        try:
            with owned(directory):
                asyncio.run(_latch(directory))
                return
        except ContractError as error:
            if error.error.code is not ErrorCode.WRONG_STATE:
                raise
        process = owner(directory)
        if process is not None and process not in told:
            told.add(process)
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGUSR1)
        if directory.ledger.exists() and (estop := read_estop(directory.ledger)) is not None:
            sys.stdout.write(f"Stopped. Release it with the latch {estop.latch}.\n")
            return
        if time.monotonic() > deadline:
            _refuse(f"process {process} did not latch the stop: cut the reactor's power")
        time.sleep(0.02)


async def _latch(directory: DataDir) -> None:
    with closing(Ledger.open(directory.ledger)) as ledger:
        if ledger.estop is None:
            reason = "engaged on the node while it was not running"
            await ledger.latch(Estop(latch=str(ULID()), by=LOCAL, since=utc_now(), reason=reason))
        latch = ledger.estop.latch if ledger.estop else ""
    sys.stdout.write(f"The node was not running; it will refuse to act. The latch is {latch}.\n")


def _fail(error: Exception) -> NoReturn:
    """Say which device does not obey; a new start may help, so this is no refusal."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    sys.stderr.write(f"a device does not answer as it must: {error}\n")
    sys.exit(1)


def _refuse(sentence: str) -> NoReturn:
    sys.stderr.write(f"{sentence}\n")
    sys.exit(REFUSED)


if __name__ == "__main__":
    main()
