"""The files of a system that runs on one machine: one configuration and one log a service.

Everything below the data directory is the owner's alone; credentials stand only in files of mode
0600, never in an argument or in the environment.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from broker.access import Principal
from broker.access.clients import PROGRAMS, write_mosquitto_options
from broker.identity import write_private
from broker.settings import BrokerSettings
from broker.toml import Value, dump

Transport = Literal["tcp", "websockets"]


def reactor_names(count: int) -> list[str]:
    """Return the node ids: reactor-1, reactor-2, …."""
    return [f"reactor-{number}" for number in range(1, count + 1)]


class LocalFiles:
    """Knows every path below the data directory."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def config(self, name: str) -> Path:
        """Return a service's configuration file."""
        return self._data / "config" / f"{name}.toml"

    def log(self, name: str) -> Path:
        """Return a service's log file."""
        return self._data / "logs" / f"{name}.log"

    @staticmethod
    def principals(reactors: Sequence[str]) -> list[Principal]:
        """Return who may connect: hub, portal, the nodes and the administrator."""
        return [
            Principal("hub", "hub"),
            Principal("portal", "portal"),
            Principal("admin", "administrator"),
            *(Principal(name, "node") for name in reactors),
        ]

    def write(
        self,
        settings_for: Callable[[str, Transport], BrokerSettings],
        reactors: Sequence[str],
        *,
        transport: Transport,
        portal_port: int,
        runner: str,
        reactor: Mapping[str, str],
        speed: float,
        on_exit: str,
    ) -> None:
        """Write the configuration of every service and the command line's credentials.

        Args:
            settings_for: How a principal connects, over a transport.
            reactors: The nodes' ids.
            transport: Of nodes and portal; hub and command line use TCP.
            portal_port: On loopback.
            runner: auto, docker or bubblewrap.
            reactor: The nodes' settings of what stands for a reactor.
            speed: Simulated seconds in one second.
            on_exit: leave or stop: what the nodes do with a running experiment when they end.
        """
        self._write_toml(
            self.config("hub"),
            broker=_broker(settings_for("hub", "tcp")),
            hub={"data_dir": str(self._data / "hub")},
        )
        real = reactor["reactor"] == "configured"  # its file has a label
        for number, name in enumerate(reactors, start=1):
            self._write_toml(
                self.config(name),
                broker=_broker(settings_for(name, transport)),
                node={
                    "id": name,
                    **({} if real else {"label": f"Bioreactor {number}"}),
                    "data_dir": str(self._data / "nodes" / name),
                    **reactor,
                    "runner": runner,
                    "allow_reduced_isolation": True,
                    "speed": speed,
                    "sample_interval": _sample_interval(speed),
                    "seed": number,
                    "on_exit": on_exit,
                },
            )
        self._write_toml(
            self.config("portal"),
            broker=_broker(settings_for("portal", transport)),
            portal={"data_dir": str(self._data / "portal"), "port": portal_port},
        )
        admin = settings_for("admin", "tcp")
        clients = self._clients
        self._write_toml(clients / "admin.toml", broker=_broker(admin))
        write_mosquitto_options(clients, admin)

    def forget_clients(self) -> None:
        """Remove the command line's credentials; nothing runs that they could reach."""
        for name in ("admin.toml", *PROGRAMS):
            (self._clients / name).unlink(missing_ok=True)

    @property
    def _clients(self) -> Path:
        return self._data / "clients"

    @staticmethod
    def _write_toml(path: Path, **sections: Mapping[str, Value]) -> None:
        write_private(path, dump(sections))


def _sample_interval(speed: float) -> float:
    """Return real seconds between samples: a fast simulation is looked at more often."""
    return 1.0 if speed <= 1 else max(0.1, min(1.0, 10 / speed))


def _broker(settings: BrokerSettings) -> Mapping[str, Value]:
    values: dict[str, Value] = {"url": settings.url, "root": settings.root}
    if settings.username is not None:
        values["username"] = settings.username
    if settings.password is not None:
        values["password"] = settings.password.get_secret_value()
    return values
