# ruff: noqa: INP001 - run by its path or with -m, no package
"""What sample reactors measured and sample scripts wrote."""

import math
import os
import random
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from broker.messages import (
    CalibrationInfo,
    ChannelInfo,
    ChannelLimits,
    EventRecord,
    HistoryOf,
    LogLine,
    Quantity,
    Trace,
)

FROZEN: Final = "PREVIEW_FROZEN" in os.environ
"""Whether time stands still, at the same moment each time, and nothing moves: for comparisons."""
FROZEN_AT: Final = datetime(2027, 3, 17, 14, 20, tzinfo=UTC)
NOW: Final = FROZEN_AT if FROZEN else datetime.now(UTC)
ELAPSED: Final = 9_640.0
TARGET: Final = 0.4


def _channel(
    name: str, kind: str, quantity: Quantity, unit: str, label: str, **more: Any
) -> ChannelInfo:
    return ChannelInfo.model_validate(
        {
            "name": name, "kind": kind, "quantity": quantity, "unit": unit, "label": label,
            "driver": "simulation", "period": 1.0, **more,
        }
    )  # fmt: skip


CHANNELS: Final = (
    _channel("od", "sensor", Quantity.OPTICAL_DENSITY, "1", "Optical density", precision=3),
    _channel("temperature", "sensor", Quantity.TEMPERATURE, "°C", "Temperature", precision=2),
    _channel("ph", "sensor", Quantity.PH, "1", "pH", precision=2),
    _channel("do", "sensor", Quantity.DISSOLVED_OXYGEN, "%", "Dissolved oxygen", precision=1),
    _channel("volume", "sensor", Quantity.VOLUME, "mL", "Volume", precision=1),
    _channel("heater", "sensor", Quantity.POWER, "%", "Heater duty", precision=0),
    _channel(
        "temperature-setpoint", "setpoint", Quantity.TEMPERATURE, "°C", "Temperature setpoint",
        precision=1, safe_value=20.0,
        limits=ChannelLimits(minimum=15, maximum=45, slew_per_s=0.1),
    ),
    _channel(
        "stirring", "setpoint", Quantity.SPEED, "rpm", "Stirring", precision=0, safe_value=0.0,
        limits=ChannelLimits(minimum=0, maximum=1200),
    ),
    _channel(
        "light", "actuator", Quantity.LIGHT, "%", "Light", precision=0, safe_value=0.0,
        limits=ChannelLimits(minimum=0, maximum=100, max_on_time=3600),
    ),
    _channel(
        "media", "pump", Quantity.FLOW, "mL/min", "Media pump", precision=2, safe_value=0.0,
        limits=ChannelLimits(max_dose_ml=5, max_hourly_ml=60, max_total_ml=2000),
    ),
    _channel(
        "waste", "pump", Quantity.FLOW, "mL/min", "Waste pump", precision=2, safe_value=0.0,
        limits=ChannelLimits(max_dose_ml=5, max_hourly_ml=60, max_total_ml=2000),
    ),
)  # fmt: skip

_MADE: Final = {
    "od": CalibrationInfo(way="curve", unit="1", points=4, error=0.013, note="Ada, blank and 3"),
    "ph": CalibrationInfo(way="device", unit="1", points=3, note="buffers 4, 7, 10"),
    "media": CalibrationInfo(way="volume", unit="mL", points=3, error=0.02),
}
CALIBRATED: Final = tuple(
    channel.model_copy(
        update={
            "driver": "ezo",
            "calibration": f"{channel.name}-20260811T091400Z",
            "calibrated_at": NOW - timedelta(days=107),
            "calibration_info": _MADE[channel.name],
        }
    )
    if channel.name in _MADE
    else channel
    for channel in CHANNELS
)
"""The same, of a real reactor."""

PACKAGES: Final = {
    "numpy": "numpy", "scipy": "scipy", "pandas": "pandas", "matplotlib": "matplotlib",
    "sklearn": "scikit-learn", "PIL": "pillow", "simple_pid": "simple-pid",
}  # fmt: skip


def values_at(t: float, seed: int = 1) -> dict[str, float | None]:
    """Return readings of a turbidostat at a time in seconds."""
    noise = random.Random(seed * 1_000_003 + int(t * 10))  # noqa: S311 - only to look like noise
    growing = 0.06 * math.exp(t / 2600)
    od = growing if growing < TARGET else TARGET + 0.035 * (((t - 4932) / 300) % 1)
    return {
        "od": od + noise.gauss(0, 0.002),
        "temperature": 37 - 12 * math.exp(-t / 700) + noise.gauss(0, 0.03),
        "ph": 7.02 - 0.1 * min(od, 0.5) + noise.gauss(0, 0.006),
        "do": 98 - 55 * od + noise.gauss(0, 0.4),
        "volume": 20 + 0.6 * math.sin(t / 300),
        "heater": max(0.0, 22 + 60 * math.exp(-t / 500) + noise.gauss(0, 1.0)),
        "temperature-setpoint": 37.0,
        "stirring": 450.0,
        "light": 60.0 if int(t / 3600) % 2 == 0 else 0.0,
        "media": 0.0,
        "waste": 0.0,
    }


def history(points: int, start: float = 0.0, end: float = ELAPSED) -> HistoryOf:
    """Return what a run of `ELAPSED` seconds recorded between two of its seconds."""
    end = min(end, ELAPSED)
    times = tuple(start + (end - start) * i / (points - 1) for i in range(points))
    rows = [values_at(t) for t in times]
    traces = {
        c.name: Trace(unit=c.unit, t=times, v=tuple(row[c.name] for row in rows), downsampled=True)
        for c in CHANNELS
    }
    sparse = times[::40]
    growth = tuple(1.38 / 3600 * 1000 + 0.02 * math.sin(t / 400) for t in sparse)
    traces["series.growth_rate"] = Trace(series=True, t=sparse, v=growth)
    events = [
        EventRecord(t=NOW, elapsed=t, event="dose", channel=channel, value=1.0)
        for t in range(4932, int(ELAPSED), 300)
        for channel in ("media", "waste")
    ]
    events.append(
        EventRecord(t=NOW, elapsed=2.0, event="set", channel="temperature-setpoint", value=37.0)
    )
    events.append(EventRecord(t=NOW, elapsed=6200.0, event="outputs-reset"))
    return HistoryOf(
        started_at=NOW - timedelta(hours=2, minutes=41), traces=traces, events=tuple(events)
    )


def node_history(start: float, end: float, points: int) -> HistoryOf:
    """Return what a node measured, by wall time."""
    step = (end - start) / points
    times = tuple(start + step * i for i in range(points))
    rows = [values_at((at / 6) % 9000) for at in times]
    traces = {
        c.name: Trace(unit=c.unit, t=times, v=tuple(row[c.name] for row in rows), downsampled=True)
        for c in CHANNELS
    }
    alarm = EventRecord(
        t=datetime.fromtimestamp(start + 0.7 * (end - start), UTC), event="alarm", channel="ph",
        data={"id": "doubt-ph", "severity": "warning", "message": "pH 17.3 cannot be"},
    )  # fmt: skip
    return HistoryOf(traces=traces, events=(alarm,))


_SAYS: Final = (
    ("system", "started turbidostat.py on reactor-1, image standard"),
    ("stdout", "target 0.400, dose 1.0 mL, one look a minute"),
    ("stdout", "od 0.062  waiting for growth"),
    ("stdout", "\x1b[32mod 0.398  almost there\x1b[0m"),
    ("stdout", "od 0.403  dosed 1.000 mL media, 1.000 mL waste"),
    ("stderr", "RuntimeWarning: overflow encountered in exp while fitting the growth rate"),
    ("stdout", "a very long line " + "0123456789" * 30),
)


def log_lines(count: int = 60) -> tuple[LogLine, ...]:
    """Return the log's first lines."""
    return tuple(
        LogLine.model_validate(
            {
                "n": i + 1,
                "t": NOW - timedelta(minutes=count - i),
                "source": _SAYS[i % len(_SAYS)][0] if i else "system",
                "text": _SAYS[i % len(_SAYS)][1],
            }
        )
        for i in range(count)
    )


SCRIPT: Final = '''# /// script
# dependencies = ["numpy"]
# [tool.bioreactor]
# name = "Turbidostat at 37 °C"
# max_duration = "24h"
# ///
"""Keep the optical density at a target by replacing medium."""
from bioreactor import experiment, reactor

target = experiment.parameters["target_od"]
reactor.set("temperature-setpoint", 37.0)
for _ in experiment.every(seconds=60):
    od = reactor.read("od")
    if od > target:
        reactor.dose("waste", ml=1.0)
        reactor.dose("media", ml=1.0)
        print(f"od {od:.3f}  dosed 1.000 mL")
    experiment.record(od=od)
experiment.save("summary.json", {"final_od": od})
'''
