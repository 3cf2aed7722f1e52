"""A bus of eight EZO circuits, each on its port: read at the devices' own pace, faults included.

The circuits are emulated in real time; the reference of a reading is what the circuit itself takes.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import perf_counter, process_time

from broker.messages import ChannelInfo, Quantity
from hardware.channels import Channel, Equipment
from hardware.clock import RealClock
from hardware.drivers.ezo import probes
from hardware.drivers.ezo.pump import EzoPump
from hardware.drivers.ezo.sensor import EzoSensor
from hardware.drivers.interface import Driver, DriverError
from hardware.emulators import ezo_probes as emulated
from hardware.emulators.emulator import Constant, Emulator
from hardware.emulators.ezo_probes import EzoProbe
from hardware.emulators.ezo_pump import EzoPump as EmulatedPump
from hardware.emulators.faults import Fault
from hardware.reactor import Reactor, ReactorEvent

Row = tuple[str, float, str, float, str]

BUS: tuple[tuple[type[EzoSensor], type[EzoProbe], str, float], ...] = (
    (probes.EzoPh, emulated.EzoPh, "pH", 7.0),
    (probes.EzoPh, emulated.EzoPh, "pH", 6.5),
    (probes.EzoDo, emulated.EzoDo, "mg", 7.82),
    (probes.EzoRtd, emulated.EzoRtd, "T", 37.0),
    (probes.EzoRtd, emulated.EzoRtd, "T", 25.0),
    (probes.EzoOrp, emulated.EzoOrp, "ORP", 209.6),
    (probes.EzoEc, emulated.EzoEc, "EC", 1413.0),
    (probes.EzoEc, emulated.EzoEc, "EC", 84.0),
)
ORP, RTD = 5, 3
SLOWEST, FAST = 1.0, 0.6
READINGS = 5


@asynccontextmanager
async def bus(folder: Path) -> AsyncIterator[tuple[list[EzoSensor], list[Emulator]]]:
    """Eight circuits, and drivers for them that are not open yet."""
    async with AsyncExitStack() as stack:
        emulators, drivers = [], []
        for number, (driver, emulator, key, value) in enumerate(BUS):
            device = await stack.enter_async_context(
                Emulator(emulator(Constant(value)), link=folder / f"usb-{number}")
            )
            emulators.append(device)
            drivers.append(driver(f"ezo-{number}", device.path, {key: f"channel-{number}"}))
        yield drivers, emulators


async def read_times(driver: EzoSensor, times: int = READINGS) -> float:
    """Return what a reading takes, s."""
    before = perf_counter()
    for _ in range(times):
        await driver.read()
    return (perf_counter() - before) / times


async def keep_reading(driver: EzoSensor) -> None:
    """Read over and over, whatever comes."""
    while True:
        try:
            await driver.read()
        except DriverError:
            await asyncio.sleep(0.1)


async def measure_bus() -> list[Row]:
    """Read the bus, then with one circuit silent."""
    with tempfile.TemporaryDirectory() as folder:
        async with bus(Path(folder)) as (drivers, emulators), AsyncExitStack() as stack:
            await asyncio.gather(*(stack.enter_async_context(driver) for driver in drivers))
            before, load = perf_counter(), process_time()
            for _ in range(READINGS):
                await asyncio.gather(*(driver.read() for driver in drivers))
            all_of_them = (perf_counter() - before) / READINGS
            cpu = (process_time() - load) / (perf_counter() - before)
            others = [
                asyncio.create_task(keep_reading(driver))
                for number, driver in enumerate(drivers)
                if number != RTD
            ]
            among = await read_times(drivers[RTD])
            emulators[ORP].inject(Fault.SILENCE)
            with_silent = await read_times(drivers[RTD])
            for task in others:
                task.cancel()
            await asyncio.wait(others)
    return [
        ("8 EZO circuits read side by side", all_of_them, "s", SLOWEST, "the slowest circuit"),
        ("  of a core, drivers and emulators", 100 * cpu, "%", 100.0, "a core"),
        ("an EZO-RTD among 7 that are being read", among, "s", FAST, "the circuit itself"),
        ("  while one of them is silent", with_silent, "s", FAST, "the circuit itself"),
    ]


def equipment(drivers: list[EzoSensor], pumps: list[EzoPump]) -> Equipment:
    """The bus and two pumps as a reactor."""
    channels = []
    for number, driver in enumerate(drivers):
        info = ChannelInfo(
            name=f"channel-{number}",
            kind="sensor",
            quantity=Quantity.OTHER,
            unit="1",
            label="probe",
            driver=driver.name,
            period=1.0,
        )
        channels.append(Channel(info))
    for pump in pumps:
        info = ChannelInfo(
            name=pump.channel,
            kind="pump",
            quantity=Quantity.VOLUME,
            unit="mL",
            label="pump",
            driver=pump.name,
            period=1.0,
            safe_value=0.0,
        )
        channels.append(Channel(info, flow=pump.flow, direction="in"))
    return Equipment.of(channels)


async def measure_fault() -> list[Row]:
    """Pull one probe's cable while two pumps run; have everything made safe when that is told."""
    with tempfile.TemporaryDirectory() as folder:
        async with bus(Path(folder)) as (drivers, emulators), AsyncExitStack() as stack:
            motors = [EmulatedPump(), EmulatedPump()]
            pumps = []
            for number, motor in enumerate(motors):
                port = Emulator(motor, link=Path(folder) / f"usb-pump-{number}")
                await stack.enter_async_context(port)
                pumps.append(EzoPump(f"ezo-pmp-{number}", port.path, f"pump-{number}"))
            seen: list[float] = []
            told = asyncio.Event()

            def hear(event: ReactorEvent) -> None:
                if event.event == "alarm":
                    seen.append(perf_counter())
                    told.set()

            all_drivers: list[Driver] = [*drivers, *pumps]
            reactor = Reactor(equipment(drivers, pumps), all_drivers, RealClock())
            reactor.on_event(hear)
            async with reactor:
                sampling = asyncio.create_task(sample(reactor))
                doses = [asyncio.create_task(reactor.dose(pump.channel, 30.0)) for pump in pumps]
                await asyncio.sleep(2.5)
                assert all(motor.running for motor in motors)
                pulled = perf_counter()
                emulators[ORP].unplug()
                await told.wait()
                making = asyncio.create_task(reactor.make_safe())
                while any(motor.running for motor in motors):  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.001)
                safe = perf_counter()
                await making
                await asyncio.gather(*doses)
                sampling.cancel()
                await asyncio.wait([sampling])
                emulators[ORP].plug()
    return [
        ("a cable is pulled: the alarm", seen[0] - pulled, "s", 1.0, "sampled each second"),
        ("  from the alarm until both pumps stand", safe - seen[0], "s", 1.0, "the budget"),
    ]


async def sample(reactor: Reactor) -> None:
    """Read each second, as the node does."""
    while True:
        await reactor.read()
        await asyncio.sleep(1.0)


def rows() -> list[Row]:
    """Return the measurements."""
    return asyncio.run(measure_bus()) + asyncio.run(measure_fault())
