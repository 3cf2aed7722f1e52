"""The reactor's rules with real drivers on emulated devices: nothing of it needs a broker."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pytest

from hardware.clock import RealClock
from hardware.emulators.bench import Bench
from hardware.emulators.faults import Fault
from hardware.reactor import Reactor
from hardware.reactors import configured_reactor
from tests.support.waiting import eventually


@dataclass
class Rig:
    bench: Bench
    reactor: Reactor

    def heater(self) -> float:
        return self.bench.board.output("heater")

    async def heat(self) -> None:
        await self.reactor.set("temperature-setpoint", 37.0)
        await eventually(lambda: self.heater() > 0)

    async def replug(self) -> None:
        """Let everything answer again, so that leaving finds it safe."""
        for emulator in self.bench.emulators.values():
            emulator.clear()

        async def safe() -> bool:
            try:
                await self.reactor.make_safe()
            except ExceptionGroup:
                return False
            return True

        await eventually(safe)


@asynccontextmanager
async def running(
    directory: Path,
    *,
    devices: Sequence[str] = (),
    on_fault: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[Rig]:
    """The bench reactor, or these devices alone: most others take a second to start."""
    clock = RealClock()
    async with Bench(directory) as bench:
        text = bench.file.read_text("utf-8")
        if devices:
            text = only(devices, text)
        for name, policy in on_fault.items():
            head = f"[devices.{name}]\n"
            text = text.replace(head, f'{head}on_fault = "{policy}"\n')
        bench.file.write_text(text, "utf-8")
        reactor, label = configured_reactor(clock, bench.file, directory=directory)
        assert label == "Bench"
        async with reactor:
            yield Rig(bench, reactor)


def only(devices: Sequence[str], text: str) -> str:
    head, *tables = text.split("\n[")
    kept = (
        table
        for table in tables
        if table.startswith(("controllers.temperature", "vessel"))
        or any(table.startswith(f"devices.{d}]") or f'device = "{d}"' in table for d in devices)
    )
    return "\n[".join([head, *kept])


async def test_the_whole_reactor_on_serial_devices(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        reactor, vial = rig.reactor, rig.bench.vial
        values = await reactor.read()
        assert values.keys() >= {"od", "temperature", "ph", "do", "co2", "media", "heater"}
        assert values["temperature"] == pytest.approx(23.25, abs=0.3)
        assert values["od"] == pytest.approx(0.05, abs=0.05)
        assert values["ph"] == pytest.approx(7.2, abs=0.1)
        assert values["do"] == pytest.approx(94, abs=12)
        assert values["co2"] is None  # it is not warm yet
        await reactor.set("stirring", 300.0)
        await reactor.set("light", 50.0, duration=60.0)
        assert rig.bench.board.output("light") == pytest.approx(50.0, abs=0.1)
        before = vial.volume()
        media, base = await asyncio.gather(reactor.dose("media", 1.0), reactor.dose("base", 0.1))
        assert media.delivered_ml == pytest.approx(1.0, abs=0.001)
        assert base.delivered_ml == pytest.approx(0.1, abs=0.001)
        assert vial.volume() - before == pytest.approx(1.1, abs=0.01)
        waste = await reactor.dose("waste", 1.0)
        assert waste.delivered_ml == pytest.approx(1.0, abs=0.02)
        assert vial.volume() - before == pytest.approx(0.1, abs=0.03)
        assert rig.bench.board.output("stirring") == pytest.approx(300, abs=1)

        # One port after another fails: the rest stays under control.
        for name in ("ezo-ph", "gas", "acid"):
            rig.bench.emulators[name].inject(Fault.UNPLUG)
        started = asyncio.get_running_loop().time()
        with pytest.raises(ExceptionGroup):
            await reactor.make_safe()
        assert rig.bench.board.output("light") == rig.bench.board.output("stirring") == 0
        assert not rig.bench.pumps["media"].energized()
        assert asyncio.get_running_loop().time() - started < 5.0
        values = await reactor.read()
        assert values["temperature"] is not None
        await eventually(lambda: len(reactor.alarms) >= 2)
        await rig.replug()
        assert reactor.safe
        assert not any(tic.energized() for tic in rig.bench.pumps.values())


def too_hot(bench: Bench) -> None:
    """Above the rules' 45 °C, below the board's own 50."""
    bench.board.temperature = lambda: 46.0


def broken_off(bench: Bench) -> None:
    bench.board.temperature = lambda: float("nan")


def mute(bench: Bench) -> None:
    """The temperature gets stale. The board still hears, so its own timeout does not act."""
    bench.emulators["board"].inject(Fault.SILENCE)


def unplugged(bench: Bench) -> None:
    """Nothing can be written any more: the board's own timeout acts."""
    bench.emulators["board"].inject(Fault.UNPLUG)


@pytest.mark.parametrize("trouble", [too_hot, broken_off, mute, unplugged])
async def test_the_heater_goes_off_with_nobody_but_the_node(
    tmp_path: Path, trouble: Callable[[Bench], None]
) -> None:
    async with running(tmp_path, devices=["board"]) as rig:
        await rig.heat()
        trouble(rig.bench)
        await eventually(lambda: rig.heater() == 0)
        await rig.replug()
