"""`bioreactor up`: broker, hub, nodes with simulated bioreactors and portal on one machine."""

import asyncio
import fcntl
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated

import typer
from rich.logging import RichHandler
from rich.markup import escape

from bioreactor.cli.exits import EXIT_CODES
from bioreactor.cli.local import LocalFiles, reactor_names
from bioreactor.cli.service import Service, running
from bioreactor.cli.session import default_data_dir, err, out
from bioreactor.lab import Lab
from broker.children import RefusedError
from broker.embedded import EmbeddedBroker
from broker.extras import EXTRAS, REFUSED, missing
from broker.listening import free_port
from broker.messages import ContractError
from broker.settings import BrokerSettings

PORTAL_PORT = 8000
BROKER_PORT = 1883
START_DEADLINE_S = 60.0
ANSWER_S = 3.0


class BrokerKind(StrEnum):
    """Which embedded broker."""

    AUTO = "auto"
    MOSQUITTO = "mosquitto"
    NATS = "nats"


class RunnerKind(StrEnum):
    """How experiments are isolated."""

    AUTO = "auto"
    DOCKER = "docker"
    BUBBLEWRAP = "bubblewrap"


class OnExit(StrEnum):
    """What happens to running experiments when the system stops."""

    LEAVE = "leave"
    STOP = "stop"


class Organism(StrEnum):
    """What grows in a simulated bioreactor."""

    E_COLI = "e-coli"
    YEAST = "yeast"
    MICROALGA = "microalga"


class Transport(StrEnum):
    """How node and portal reach the broker."""

    TCP = "tcp"
    WEBSOCKETS = "websockets"


@dataclass(frozen=True)
class Options:
    """What the command line asked for."""

    data: Path
    portal_port: int
    broker_port: int
    broker: BrokerKind
    runner: RunnerKind
    reactors: int
    speed: float
    organism: Organism
    replay: Path | None
    reactor: Path | None
    on_exit: OnExit
    transport: Transport
    as_json: bool


class StartError(Exception):
    """The system cannot start; the message says what to do."""


def up(
    data: Annotated[
        Path | None,
        typer.Option(help="Where everything is kept.", show_default="~/.local/share/bioreactor"),
    ] = None,
    portal_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="0 picks a free one.", show_default="8000")
    ] = None,
    broker_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="0 picks a free one.", show_default="1883")
    ] = None,
    broker: Annotated[BrokerKind, typer.Option(help="Embedded broker.")] = BrokerKind.AUTO,
    runner: Annotated[
        RunnerKind, typer.Option(help="How experiments are isolated.")
    ] = RunnerKind.AUTO,
    reactors: Annotated[int, typer.Option(min=1, max=50, help="How many.")] = 1,
    speed: Annotated[
        float, typer.Option(min=0.1, max=3600, help="Simulated seconds in one second.")
    ] = 1.0,
    organism: Annotated[
        Organism, typer.Option(help="What grows in the simulated bioreactors.")
    ] = Organism.E_COLI,
    replay: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Show a recorded run (CSV) again instead of a simulation.",
            show_default=False,
        ),
    ] = None,
    reactor: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Use the real reactor that this reactor.toml describes.",
            show_default=False,
        ),
    ] = None,
    on_exit: Annotated[
        OnExit,
        typer.Option(help="Running experiments: left, to be re-adopted, or stopped."),
    ] = OnExit.LEAVE,
    transport: Annotated[
        Transport, typer.Option(help="How node and portal reach the broker.")
    ] = Transport.TCP,
    as_json: Annotated[
        bool, typer.Option("--json", help="Say where everything is as one line of JSON.")
    ] = False,
) -> None:
    """Start everything on this machine, with simulated bioreactors or a real one."""
    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=err, show_path=False, markup=False)],
    )
    for sentence in filter(None, map(missing, EXTRAS)):
        err.print(f"[bold red]{escape(sentence)}[/]", highlight=False, soft_wrap=True)
        raise typer.Exit(REFUSED)
    where = (data or default_data_dir()).resolve()
    try:
        if reactor is not None:
            _demand_sound(reactor)
        with _lock(where):  # before ports are looked for: those of the other one are in use
            options = Options(
                data=where,
                portal_port=_port("--portal-port", portal_port, PORTAL_PORT),
                broker_port=_port("--broker-port", broker_port, BROKER_PORT),
                broker=broker,
                runner=runner,
                reactors=reactors,
                speed=speed,
                organism=organism,
                replay=None if replay is None else replay.resolve(),
                reactor=None if reactor is None else reactor.resolve(),
                on_exit=on_exit,
                transport=transport,
                as_json=as_json,
            )
            asyncio.run(_run(options))
    except (StartError, RefusedError) as error:
        err.print(f"[bold red]{escape(str(error))}[/]", highlight=False, soft_wrap=True)
        raise typer.Exit(REFUSED if isinstance(error, RefusedError) else 1) from None
    except ContractError as error:
        err.print(
            f"[bold red]{error}[/]\n[dim]{error.error.hint}[/]", highlight=False, soft_wrap=True
        )
        said = error.error.details.get("output")
        for line in said if isinstance(said, list) else ():
            err.print(f"  {line}", highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_CODES[error.error.code]) from None


def _port(option: str, wanted: int | None, usual: int) -> int:
    """Return the wanted port, or the usual one if it is free, or a free one, which is said."""
    if wanted == 0:
        return free_port()
    port = usual if wanted is None else wanted
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if wanted is not None:
                err.print(
                    f"[bold red]Port {port} is in use[/] ({error.strerror}): "
                    f"choose another {option}, or 0 for any free one.",
                    highlight=False,
                    soft_wrap=True,
                )
                raise typer.Exit(1) from None
            err.print(
                f"Port {port} is in use: a free one instead, or name it with {option}.",
                highlight=False,
                soft_wrap=True,
            )
            return free_port()
    return port


def _lock(data: Path) -> IO[str]:
    """Lock the data directory for this process.

    Raises:
        StartError: Another process runs on it, or it cannot be written.
    """
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (data / "up.lock").open("a+")
    except OSError as error:
        raise StartError(f"cannot write {data}: {error.strerror}; choose another --data") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise StartError(
            f"another `bioreactor up` runs on {data}; stop it, or choose another --data"
        ) from error
    return file


async def _run(options: Options) -> None:
    began = time.monotonic()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as stack:
        names = reactor_names(options.reactors)
        files = LocalFiles(options.data)
        broker = await stack.enter_async_context(
            EmbeddedBroker(
                options.data / "broker",
                roles=files.principals(names),
                kind=options.broker.value,
                port=options.broker_port,
                websocket_port=0 if options.transport is Transport.WEBSOCKETS else None,
            )
        )
        # A later command finds no credentials and says at once that nothing runs.
        stack.callback(files.forget_clients)
        files.write(
            broker.settings_for,
            names,
            transport=options.transport.value,
            portal_port=options.portal_port,
            runner=options.runner.value,
            reactor=_reactor(options),
            speed=options.speed,
            on_exit=options.on_exit.value,
        )
        # Stopped in reverse: portal, nodes (which make their reactors safe), hub, broker.
        nodes = [_service(files, "node_service", name, grace=45.0) for name in names]
        await stack.enter_async_context(running(_service(files, "hub_service", "hub")))
        await stack.enter_async_context(running(*nodes))
        await stack.enter_async_context(running(_service(files, "portal", "portal")))
        url = f"http://127.0.0.1:{options.portal_port}/"
        answered = await _first_page(url, stopping)
        if answered:
            _welcome(options, url, broker, time.monotonic() - began)
            await stopping.wait()
        waits = options.on_exit is OnExit.LEAVE and await _runs(broker.settings_for("admin"))
        err.print("Stopping: reactors are made safe …")
    if not answered and not stopping.is_set():
        raise StartError(
            f"the portal did not answer within {START_DEADLINE_S:.0f} s; "
            f"its log is {files.log('portal')}"
        )
    err.print("Stopped. Everything is kept; start again to go on.")
    if waits:
        err.print("[dim]A running experiment waits in its container for that.[/]")


def _demand_sound(file: Path) -> None:
    """Return if a `reactor.toml` can be used; the program that reads it says so.

    Raises:
        RefusedError: What is wrong, and on which line.
    """
    done = subprocess.run(
        [sys.executable, "-m", "hardware.tools", "check", "--no-devices", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RefusedError(done.stderr.strip() or f"{file} cannot be read")


async def _runs(settings: BrokerSettings) -> bool:
    """Whether an experiment runs, or may run where the hub does not say."""
    try:
        async with asyncio.timeout(ANSWER_S), Lab(settings) as lab:
            await lab.observe()
            return lab.queue is None or bool(lab.queue.running)
    except (ContractError, TimeoutError):
        return True


def _reactor(options: Options) -> Mapping[str, str]:
    """Return the nodes' settings of what stands for a reactor."""
    if options.reactor is not None:
        if options.reactors != 1 or options.speed != 1.0 or options.replay is not None:
            raise StartError(
                "--reactor is one real reactor: leave out --reactors, --speed and --replay"
            )
        return {"reactor": "configured", "configuration": str(options.reactor)}
    if options.replay is not None:
        return {"reactor": "replay", "recording": str(options.replay)}
    return {"reactor": "simulated", "organism": options.organism.value}


def _service(files: LocalFiles, module: str, name: str, grace: float = 20.0) -> Service:
    return Service(name, module, files.config(name), files.log(name), grace)


async def _first_page(url: str, stopping: asyncio.Event) -> bool:
    """Wait for the first page; return whether it came in time and before a stop."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + START_DEADLINE_S
    while not stopping.is_set():
        if await asyncio.to_thread(_ready, url + "health"):
            return True
        if loop.time() > deadline:
            break
        await asyncio.sleep(0.05)
    return False


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own http address
            return int(answer.status) == 200  # noqa: PLR2004 - OK
    except (urllib.error.URLError, OSError):
        return False


def _welcome(options: Options, url: str, broker: EmbeddedBroker, seconds: float) -> None:
    admin = broker.settings_for("admin")
    if options.as_json:
        ready = {
            "portal": url,
            "broker": admin.url,
            "broker_kind": broker.kind,
            "data": str(options.data),
            "seconds": round(seconds, 2),
            "process": os.getpid(),
        }
        print(json.dumps(ready), flush=True)
        return
    own = options.data == default_data_dir()
    where = "" if own else f" --data {options.data}"
    program = Path(sys.argv[0])
    if program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    sub = f"XDG_CONFIG_HOME={options.data / 'clients'} mosquitto_sub"
    for what, text in (
        ("Portal", f"[bold]{url}[/]"),
        ("Broker", f"{broker.kind} on {admin.url}"),
        ("Data", str(options.data)),
        ("Try", f"{program} submit examples/turbidostat.py --follow{where}"),
        ("MQTT", f"{sub} -t bioreactor/queue -C 1"),
    ):
        out.print(f" {what:8}{text}", highlight=False, soft_wrap=True)
    out.print(f"[dim]Ready after {seconds:.1f} s. Ctrl-C stops it; process {os.getpid()}.[/]")
