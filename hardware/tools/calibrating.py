"""Calibrate a channel step by step, with somebody who prepares the standards."""

import asyncio
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from hardware.calibration.curve import CalibrationError, Point, fit
from hardware.calibration.record import Calibration
from hardware.configuration.build import Configured
from hardware.configuration.kinds import Step
from hardware.drivers.interface import MAX_PIECE_SECONDS, Driver, DriverError
from hardware.pieces import pieces

READINGS: Final = 5
"""Of which a point is the mean."""
_WIDTH: Final = 37
"""Columns of the residual plot."""
NOISE: Final = 3.0
"""Readings of two standards lie further apart than so many times their spread, or are alike."""
MOST_OFF: Final = 2.0
"""A pump that moves more than so many times what it believes, or less than that part, is broken."""


class Person(Protocol):
    """Who prepares the standards."""

    async def ask(self, question: str) -> str:
        """Return the answer."""
        ...

    def tell(self, text: str) -> None:
        """Show a line."""
        ...


@dataclass(frozen=True, slots=True)
class Standard:
    """What was read of a standard.

    Attributes:
        read: The mean of the readings.
        spread: Their standard deviation.
        true: Its true value.
    """

    read: float
    spread: float
    true: float

    def cannot_be_told_from(self, other: "Standard") -> bool:
        """Return whether it reads as another one does, whose true value is different."""
        apart = NOISE * (self.spread + other.spread)
        return self.true != other.true and abs(self.read - other.read) <= apart


@dataclass(frozen=True, slots=True)
class Bench:
    """What is calibrated.

    Attributes:
        reactor: Its devices; none is entered yet.
        channel: Which channel.
        now: The wall clock.
    """

    reactor: Configured
    channel: str
    now: Callable[[], datetime]

    @property
    def driver(self) -> Driver:
        """Of the channel's device."""
        name = self.reactor.equipment.channels[self.channel].info.driver
        return next(driver for driver in self.reactor.drivers if driver.name == name)

    @property
    def unit(self) -> str:
        """Of the channel."""
        return self.reactor.equipment.channels[self.channel].info.unit

    @property
    def steps(self) -> tuple[Step, ...]:
        """How the device calibrates itself; empty: it does not."""
        info = self.reactor.equipment.channels[self.channel].info
        return self.reactor.kinds[info.driver].steps.get(self.reactor.served[self.channel], ())


async def calibrate(bench: Bench, person: Person, *, degree: int = 1) -> Calibration:
    """Lead through the calibration that fits the channel, and return it; nothing is kept yet.

    Raises:
        CalibrationError: The channel cannot be calibrated, or not with these points.
        DriverError: The device does not answer or refuses a point.
    """
    channel = bench.reactor.equipment.channels.get(bench.channel)
    if channel is None or bench.channel not in bench.reactor.served:
        there = ", ".join(bench.reactor.served)
        raise CalibrationError(f"there is no channel {bench.channel!r}; there are {there}")
    async with bench.driver:
        if channel.info.kind == "pump":
            return await _by_weighing(bench, person)
        if channel.info.kind != "sensor" or channel.controlled:
            raise CalibrationError(f"{bench.channel} is an output: it is not calibrated")
        if bench.steps:
            return await _in_device(bench, person)
        return await _by_standards(bench, person, degree)


async def _in_device(bench: Bench, person: Person) -> Calibration:
    """Have the device calibrate itself, and keep the record of it."""
    standards: list[Standard] = []
    for step in bench.steps:
        person.tell(step.prompt)
        wish = " (empty: leave it out)" if step.optional else ""
        if step.usual is None:
            answer = await person.ask(f"Ready? [y]{wish} ")
            if not answer.strip() and step.optional:
                continue
            await _steady(bench, person)
            await step.take(bench.driver, 0.0)
        else:
            question = f"Its true value [{step.usual:g} {bench.unit}]{wish}: "
            true = await _number(person, question)
            if true is None:
                if step.optional:
                    continue
                true = step.usual
            standards.append(await _standard(bench, person, true, standards))
            await step.take(bench.driver, true)
        person.tell("Taken.")
    return Calibration(bench.channel, bench.now(), "device", bench.unit, _points(standards))


async def _by_standards(bench: Bench, person: Person, degree: int) -> Calibration:
    """Read standards whose true values are known; for optical density the blank comes first."""
    standards: list[Standard] = []
    while True:
        number = len(standards) + 1
        true = await _number(
            person,
            f"Standard {number}: put it in and type its true value in {bench.unit or 'its unit'} "
            f"({'the blank is 0' if number == 1 else 'empty: that was the last'}): ",
        )
        if true is None:
            break
        standards.append(await _standard(bench, person, true, standards))
    points = _points(standards)
    curve = fit(points, min(degree, max(len({p.read for p in points}) - 1, 1)))
    return Calibration(bench.channel, bench.now(), "curve", bench.unit, points, curve)


async def _by_weighing(bench: Bench, person: Person) -> Calibration:
    """Pump and weigh: a gram of water is a millilitre."""
    channel = bench.reactor.equipment.channels[bench.channel]
    nominal = channel.flow / channel.volume_factor
    most = channel.info.limits.max_dose_ml or nominal * MAX_PIECE_SECONDS
    least = channel.least_ml / channel.volume_factor
    points: list[Point] = []
    person.tell("Fill the tube, and put an empty cup on the scale below its end.")
    while True:
        wanted = await _number(
            person,
            f"Dose {len(points) + 1}: how many mL, at most {most:g} (empty: that was the last)? ",
        )
        if wanted is None:
            break
        if not 0 < wanted <= most or wanted < least:
            bottom = f"at least {least:.2g}" if least else "more than 0"
            person.tell(f"A dose is {bottom} mL and at most {most:g} mL.")
            continue
        believed = await _pump(bench, wanted, nominal * MAX_PIECE_SECONDS)
        grams = None
        while grams is None:
            grams = await _number(person, f"It believes {believed:.3f} mL. The scale says, in g: ")
        points.append(Point(believed, grams))
    if not points:
        raise CalibrationError("weigh at least one dose")
    if any(p.true <= 0 for p in points):
        raise CalibrationError(
            "a dose that weighs nothing: is the tube filled, does the pump turn?"
        )
    factor = sum(p.true * p.read for p in points) / sum(p.read * p.read for p in points)
    if not 1 / MOST_OFF < factor < MOST_OFF:
        raise CalibrationError(
            f"the pump moves {factor:.2f} times what it believes: look at its tube, "
            "or at ml_per_microstep in the file"
        )
    return Calibration(
        bench.channel, bench.now(), "volume", bench.unit, tuple(points), factor=factor
    )


async def _pump(bench: Bench, ml: float, most: float) -> float:
    """Pump a dose as an experiment does; return what the pump believes to have moved, mL."""
    moved = 0.0
    for piece in pieces(ml, most):
        delivered = await bench.driver.dose(bench.channel, piece)
        if delivered <= 0:
            raise DriverError(f"{bench.channel} delivers nothing")
        moved += delivered
    return moved


async def _standard(
    bench: Bench, person: Person, true: float, taken: Sequence[Standard]
) -> Standard:
    """Read a standard; one that reads as another did is read again, unless the person insists."""
    while True:
        standard = await _steady(bench, person, true)
        alike = (other for other in taken if standard.cannot_be_told_from(other))
        if (other := next(alike, None)) is None:
            return standard
        answer = await person.ask(
            f"That is what {other.true:g} {bench.unit} read. Put {true:g} {bench.unit} in, wait "
            "until it is steady, and press Enter (or type keep: take it as it is): "
        )
        if answer.strip() == "keep":
            return standard


async def _steady(bench: Bench, person: Person, true: float = 0.0) -> Standard:
    """Return the mean of some readings and how far they spread, and say them."""
    period = bench.reactor.equipment.channels[bench.channel].info.period
    found: list[float] = []
    for last in reversed(range(READINGS)):
        value = (await bench.driver.read()).get(bench.channel)
        if value is None:
            raise DriverError(f"{bench.channel} gives no value: is the probe in?")
        found.append(value)
        if last:
            await asyncio.sleep(min(period, 1.0))
    mean, spread = statistics.fmean(found), statistics.stdev(found)
    person.tell(f"Read {mean:.4g} ± {spread:.2g} {bench.unit} of {READINGS} readings.")
    return Standard(mean, spread, true)


def _points(standards: Sequence[Standard]) -> tuple[Point, ...]:
    return tuple(Point(standard.read, standard.true) for standard in standards)


async def _number(person: Person, question: str) -> float | None:
    """Ask until the answer is a number, and return it; None: it was empty."""
    while answer := (await person.ask(question)).strip():
        try:
            number = float(answer.replace(",", "."))
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            return number
        person.tell(f"{answer!r} is no number.")
    return None


def report(calibration: Calibration) -> Sequence[str]:
    """Return the fit and its residuals as lines for people."""
    lines = [
        f"{calibration.channel}, {calibration.at:%Y-%m-%d %H:%M:%S} UTC, in {calibration.unit}"
    ]
    if calibration.curve is not None:
        terms = " + ".join(
            f"{c:.6g}{'' if n == 0 else ' x' if n == 1 else f' x^{n}'}"
            for n, c in enumerate(calibration.curve.coefficients)
        )
        lines.append(f"true = {terms}, where x is what the device reads")
    if calibration.factor is not None:
        lines.append(f"it moves {calibration.factor:.4f} times what it believes")
    if calibration.way == "device":
        lines.append("the device keeps it itself; before that, it was off by:")
    offs = calibration.residuals
    most = max((abs(off) for off in offs), default=0.0)
    for point, off in zip(calibration.points, offs, strict=True):
        place = round((_WIDTH - 1) / 2 * (1 + (off / most if most else 0.0)))
        plot = "".join(
            "*" if i == place else "|" if i == _WIDTH // 2 else "." for i in range(_WIDTH)
        )
        lines.append(f"{point.read:>12.5g} {point.true:>12.5g} {off:>+11.2g}  {plot}")
    return lines
