"""Run the portal: `python -m portal --config FILE`."""

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path
from typing import NoReturn

from ulid import ULID

from broker import VERSION
from broker.allocator import return_what_is_freed
from broker.connection import Connection, Presence, stable_client_id
from broker.database import DatabaseError
from broker.extras import REFUSED
from broker.logs import set_up
from broker.messages import ContractError, ServiceStatus, utc_now
from broker.settings import BrokerSettings, SettingsError, load_settings
from broker.systemd import Systemd
from broker.topics import Topic
from portal.app import create_app
from portal.server import ListenError, listen, make_server
from portal.sessions import SiteKeyError, rotate_site_key
from portal.settings import PortalSettings

_log = logging.getLogger("portal")


async def run(settings: PortalSettings, broker: BrokerSettings) -> None:
    """Serve until SIGINT or SIGTERM, then say goodbye.

    Raises:
        ContractError: The broker refuses us, or does not let this principal read and say what
            portals do.
        ListenError: Nobody can listen there.
        SiteKeyError: The site key cannot be used.
        DatabaseError: What is remembered of cookies cannot be used.
    """
    listener = listen(settings.host, settings.port)
    client_id = stable_client_id(settings.data_dir / "client.id", "portal")
    connection = Connection(broker, client_id=client_id, stop_if_refused=True)
    app = create_app(settings, connection)
    listening = asyncio.Event()
    server = make_server(app, settings, listening.set)
    topic = connection.topics.build(Topic.PORTAL_STATUS, portal=settings.id)
    status = ServiceStatus(state="online", version=VERSION, boot_id=str(ULID()), since=utc_now())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.handle_exit, number, None)
    async with connection, Presence(connection, topic, status):
        telling = asyncio.create_task(_tell(listening), name="systemd")
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
        try:
            await asyncio.shield(serving)
        finally:  # the connection may have ended for good
            server.should_exit = True
            await serving
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
    _log.info("stopped")


async def _tell(listening: asyncio.Event) -> None:
    """Tell systemd that the portal serves, from when it does until cancelled."""
    await listening.wait()
    async with Systemd.of().told():
        await asyncio.get_running_loop().create_future()


def main() -> None:
    """Read the settings and run."""
    parser = argparse.ArgumentParser(prog="portal", description="The bioreactor's web portal.")
    parser.add_argument("--config", type=Path, help="TOML file with [portal] and [broker]")
    parser.add_argument(
        "--rotate-key",
        action="store_true",
        help="sign cookies with a new key from the next start on, and end",
    )
    given = parser.parse_args()
    config: Path | None = given.config
    try:
        settings = load_settings(PortalSettings, "portal", config)
        broker = load_settings(BrokerSettings, "broker", config)
        secrets = (broker.secret(), settings.admin_password)
    except SettingsError as error:
        _refuse(str(error))
    if given.rotate_key:
        try:
            rotate_site_key(settings.data_dir)
        except SiteKeyError as error:
            _refuse(str(error))
        return
    set_up(settings.log_format, settings.log_level, secrets)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    return_what_is_freed()
    try:
        asyncio.run(run(settings, broker))
    except ContractError as error:
        _refuse(f"{error}; {error.error.hint}")
    except (SiteKeyError, DatabaseError) as error:
        _refuse(str(error))
    except ListenError as error:  # who listens there may go: a new start can help
        sys.exit(f"portal: {error}")
    except OSError as error:
        _refuse(f"{error.filename}: {error.strerror}")


def _refuse(why: str) -> NoReturn:
    sys.stderr.write(f"portal: {why}\n")
    sys.exit(REFUSED)


if __name__ == "__main__":
    main()
