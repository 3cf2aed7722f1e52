"""Run the hub: `python -m hub_service --config FILE`; here everything is wired."""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

from ulid import ULID

from broker import VERSION
from broker.allocator import return_what_is_freed
from broker.connection import Connection, stable_client_id
from broker.database import DatabaseError
from broker.health import Health, ask, serve, serve_if_free
from broker.logs import set_up
from broker.messages import ContractError, utc_now
from broker.probing import insist_on_access_lists
from broker.settings import BrokerSettings, SettingsError, load_settings
from broker.systemd import Systemd
from hub_service.archive import Archive, Wanted
from hub_service.exports import Exports
from hub_service.ids import GrowingIds
from hub_service.room import Room
from hub_service.service import HubService
from hub_service.settings import HubSettings
from hub_service.storage import StoreError
from hub_service.store import QueueStore
from hub_service.targets import Letter, tell

REFUSED: Final = 78
"""Exit status where starting again would not help (EX_CONFIG)."""

_PATIENCE_S: Final = 60.0
STATUS_S: Final = 1.0
"""How often systemd's line of status is looked after."""

_OPENING: Final = Health(
    alive=True,
    ready=False,
    sentence="it starts: queue and archive are opened, or wait for room on the disk (see the log)",
)

log = logging.getLogger("hub_service")


def new_ulid() -> str:
    """Return a fresh ULID."""
    return str(ULID())


async def run(
    settings: HubSettings,
    broker: BrokerSettings,
    *,
    open_store: Callable[[Path], QueueStore],
    open_archive: Callable[[Path], Archive],
    connect: Callable[..., Connection] = Connection,
) -> None:
    """Serve until SIGINT or SIGTERM. On a full disk it serves too, or waits for room.

    Raises:
        StoreError: The queue cannot be used; nothing was changed.
        DatabaseError: The archive cannot be used.
        ContractError: The broker refuses us, does not let this principal read and say what hubs
            do, or lets everybody.
    """
    directory = settings.data_dir
    room = Room(directory / "reserve")
    manager = Systemd.of()
    async with AsyncExitStack() as opening:
        await opening.enter_async_context(_starting(directory, manager))
        store = await room.opened(lambda: open_store(directory))
        try:
            archive = await room.opened(lambda: open_archive(directory / "archive"))
            keeping = asyncio.create_task(room.keep(), name="room")
            try:
                new_id = GrowingIds(utc_now)
                newest, _ = await archive.page(Wanted(limit=1))
                for identity in (*store.state.entries, *(e.experiment_id for e in newest)):
                    new_id.seen(identity)
                exports = await room.opened(lambda: Exports(archive, directory / "exports"))

                async def known_as(file: str, prefix: str = "hub") -> str:
                    return await room.opened(partial(stable_client_id, directory / file, prefix))

                connection = connect(
                    broker, client_id=await known_as("client.id"), stop_if_refused=True
                )
                insist_on_access_lists(connection, broker)
                service = HubService(
                    store,
                    archive,
                    exports,
                    connection=connection,
                    request_connection=connect(
                        broker,
                        client_id=await known_as("requests-client.id", "hub-requests"),
                        clean_session=False,
                    ),
                    journal_connection=connect(
                        broker, client_id=await known_as("journal-client.id")
                    ),
                    settings=settings,
                    version=VERSION,
                    boot_id=new_ulid(),
                    new_id=new_id,
                )
                await opening.aclose()
                async with serve(directory, service.health):
                    await _until_told_to_stop(service, manager)
            finally:
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)
                await asyncio.to_thread(archive.close)
        finally:
            await store.close()


@asynccontextmanager
async def _starting(directory: Path, manager: Systemd) -> AsyncIterator[None]:
    """Say that the hub lives while it opens what is on its disk, and may wait for room there."""

    async def ask_for_patience() -> None:
        while True:
            manager.starting(_PATIENCE_S)
            await asyncio.sleep(STATUS_S)

    async with serve_if_free(directory, lambda: _OPENING):
        asking = asyncio.create_task(ask_for_patience(), name="systemd start")
        try:
            yield
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)


async def _until_told_to_stop(service: HubService, manager: Systemd) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    serving = asyncio.create_task(service.run(), name="hub")
    told = asyncio.create_task(stopping.wait(), name="signal")
    watched = asyncio.create_task(_tell(manager, service), name="systemd")
    await asyncio.wait({serving, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    manager.stopping()
    if not serving.done():
        await service.finish()
        serving.cancel()
    watched.cancel()  # a stop that hangs is the watchdog's business too
    await asyncio.gather(serving, watched, return_exceptions=True)
    if not serving.cancelled():
        serving.result()
    log.info("stopped")


async def _tell(manager: Systemd, service: HubService) -> None:
    """Tell systemd when the hub serves, how it is, and that it is alive."""
    if not manager.there:
        return

    async def tell_status() -> None:
        ready = False
        while True:
            health = service.health()
            if health.ready and not ready:
                ready = True
                manager.ready()
            elif not ready:
                manager.starting(_PATIENCE_S)
            manager.status(health.sentence)
            await asyncio.sleep(STATUS_S)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(tell_status(), name="systemd status")
        tasks.create_task(manager.watch(service.pulse.stuck), name="systemd watchdog")


def main() -> None:
    """Read the settings and run; or look over a stopped hub's directory."""
    if sys.argv[1:2] in (["check"], ["backup"], ["restore"]):
        from hub_service.checking.command import main as look  # noqa: PLC0415  not while it serves

        sys.exit(look(sys.argv[1:]))
    return_what_is_freed()
    parser = argparse.ArgumentParser(
        prog="hub_service",
        description="The bioreactors' hub.",
        epilog="Of a data directory: `check --help`, `backup --help`, `restore --help`.",
    )
    parser.add_argument("--config", type=Path, help="TOML file with [hub] and [broker]")
    parser.add_argument(
        "command",
        nargs="?",
        choices=("run", "health", "notify-test"),
        default="run",
        help="run the hub; say whether the one that runs is ready (exit status 0 or 1); or tell "
        "everybody in [[hub.notify]] that this is a test",
    )
    parser.add_argument(
        "--alive", action="store_true", help="with health: whether it is alive, ready or not"
    )
    options = parser.parse_args()
    config: Path | None = options.config
    try:
        settings = load_settings(HubSettings, "hub", config)
        if options.command == "health":
            sys.exit(_health(settings.data_dir, alive=options.alive))
        if options.command == "notify-test":
            sys.exit(asyncio.run(notify_test(settings)))
        broker = load_settings(BrokerSettings, "broker", config)
        secrets = (broker.secret(), *(target.url for target in settings.notify))
        set_up(settings.log_format, settings.log_level, secrets)
        asyncio.run(
            run(
                settings,
                broker,
                open_store=lambda directory: QueueStore.open(directory, new_id=new_ulid),
                open_archive=Archive.open,
            )
        )
    except (SettingsError, StoreError, DatabaseError) as error:
        _refuse(str(error))
    except ContractError as error:
        _refuse(f"{error}; {error.error.hint}")
    except ExceptionGroup as group:
        _refuse_broken_store(group)
    except OSError as error:
        _refuse(f"{error.strerror}: {error.filename}")


def _health(directory: Path, *, alive: bool) -> int:
    """Say how the hub of a directory is; return the exit status."""
    health = ask(directory)
    sys.stdout.write(f"{health.sentence}\n")
    return 0 if (health.alive if alive else health.ready) else 1


async def notify_test(settings: HubSettings) -> int:
    """Tell every target that this is a test; return 1 if one was not told."""
    if not settings.notify:
        sys.stdout.write("nobody is configured in [[hub.notify]]; MQTT is always told\n")
        return 1
    title, body = "Bioreactor: a test", "Notifications of the bioreactors' hub reach you here."
    failed = await tell([Letter(target, title, body) for target in settings.notify])
    for target in settings.notify:
        why = failed.get(target.name)
        told = "told" if why is None else f"not told: {why}"
        sys.stdout.write(f"{target.name}: {told}\n")
    return 1 if failed else 0


def _refuse_broken_store(group: ExceptionGroup[Exception]) -> NoReturn:
    """Say it in one sentence where the store became unusable; whatever else is a bug."""
    broken = group.subgroup(StoreError)
    if broken is None:
        raise group
    leaf: BaseException = broken
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
    _refuse(str(leaf))


def _refuse(why: str) -> NoReturn:
    sys.stderr.write(f"hub: {why}\n")
    sys.exit(REFUSED)


if __name__ == "__main__":
    main()
