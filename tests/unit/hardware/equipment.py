from broker.messages import ChannelInfo, ChannelLimits, Quantity
from hardware.channels import Channel, Equipment, Heating, Vessel


def channel(
    name: str,
    kind: str,
    limits: ChannelLimits | None = None,
    *,
    flow: float = 0.0,
    direction: str | None = None,
    controlled: bool = False,
    rest: float = 1.0,
) -> Channel:
    info = ChannelInfo.model_validate(
        {
            "name": name,
            "kind": kind,
            "quantity": Quantity.OTHER,
            "unit": "1",
            "label": name,
            "driver": "bench",
            "period": 1.0,
            "limits": limits or ChannelLimits(),
            "safe_value": None if kind == "sensor" and not controlled else 0.0,
        }
    )
    assert direction in {"in", "out", None}
    return Channel(
        info,
        flow=flow,
        direction="in" if direction == "in" else "out" if direction == "out" else None,
        controlled=controlled,
        rest=rest,
        wired=name != "setpoint",
    )


def bench(*, measured: bool = True, straw: float = 14.0) -> Equipment:
    """A reactor with every kind of limit, tight enough to be met often."""
    volumes = ChannelLimits(max_on_time=20, max_dose_ml=5, max_hourly_ml=12, max_total_ml=20)
    return Equipment.of(
        [
            channel("temperature", "sensor", ChannelLimits(minimum=-20, maximum=110)),
            channel("volume", "sensor", ChannelLimits(minimum=-1, maximum=30)),
            channel("setpoint", "setpoint", ChannelLimits(minimum=15, maximum=42)),
            channel("heater", "sensor", ChannelLimits(minimum=0, maximum=70), controlled=True),
            channel(
                "stirring", "setpoint", ChannelLimits(minimum=50, maximum=1000, slew_per_s=100)
            ),
            channel(
                "light",
                "actuator",
                ChannelLimits(minimum=0, maximum=100, max_on_time=100),
                rest=10.0,
            ),
            channel("media", "pump", volumes, flow=0.5, direction="in"),
            channel("base", "pump", volumes, flow=0.1, direction="in"),
            channel("waste", "pump", volumes, flow=1.0, direction="out"),
        ],
        vessel=Vessel("volume" if measured else None, filled=15, low=5, high=18, straw=straw),
        heating=Heating("temperature", "setpoint", "heater", trip=45, reset=42),
    )
