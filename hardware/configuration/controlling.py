"""Vessel and controllers of a `reactor.toml`."""

from collections.abc import Iterator, Mapping
from typing import Final

from broker.messages import ChannelInfo, ChannelLimits
from hardware.channels import Channel, Equipment, Gains, Heating, Titration, Vessel
from hardware.configuration.document import Document
from hardware.configuration.tables import ReactorTable, ThermostatTable, TitrationTable

CONTROLLER: Final = "controller"
"""The driver that a setpoint's channel names."""


def controlled(document: Document, table: ReactorTable, channels: list[Channel]) -> Equipment:
    """Put vessel and controllers around the channels of the devices.

    Raises:
        ConfigurationError: They do not fit.
    """
    by_name = {channel.info.name: channel for channel in channels}
    heating: Heating | None = None
    titrations: list[Titration] = []
    for name, controller in table.controllers.items():
        where = ("controllers", name)
        if name in by_name:
            raise document.refuse(where, f"a channel is called {name} too; choose another name")
        demand(document, by_name, (*where, "sensor"), controller.sensor, "sensor")
        if controller.minimum >= controller.maximum:
            raise document.refuse((*where, "minimum"), "the minimum is not below the maximum")
        if isinstance(controller, ThermostatTable):
            if heating is not None:
                raise document.refuse(where, "a reactor has one thermostat")
            heating = _heating(document, name, controller, by_name)
        else:
            titrations.append(_titration(document, name, controller, by_name))
        channels.append(_setpoint(name, controller, by_name[controller.sensor]))
    vessel = None
    if (filled := table.vessel) is not None:
        if not filled.low < filled.filled <= filled.high:
            raise document.refuse(("vessel",), "low < filled <= high must hold")
        if filled.sensor is not None:
            demand(document, by_name, ("vessel", "sensor"), filled.sensor, "sensor")
        vessel = Vessel(filled.sensor, filled.filled, filled.low, filled.high, filled.straw)
    inward = [c.info.name for c in channels if c.direction == "in"]
    if vessel is None and inward:
        raise document.refuse(
            ("channels", inward[0]),
            "a pump that fills needs [vessel] with filled, low and high: nothing may overflow",
        )
    on_fault = {n: d.on_fault for n, d in table.devices.items() if d.on_fault is not None}
    return Equipment.of(
        channels, vessel=vessel, heating=heating, titrations=titrations, on_fault=on_fault
    )


def _heating(
    document: Document, name: str, table: ThermostatTable, channels: Mapping[str, Channel]
) -> Heating:
    where = ("controllers", name)
    heater = channels.get(table.output)
    if heater is None or not heater.controlled:
        raise document.refuse((*where, "output"), f"there is no output {table.output!r}")
    if not table.maximum < table.reset < table.trip:
        raise document.refuse((*where, "trip"), "maximum < reset < trip must hold, in °C")
    unit = channels[table.sensor].info.unit
    if unit != "°C":
        raise document.refuse(
            (*where, "sensor"), f"{table.sensor} is in {unit or 'no unit'}, not °C"
        )
    if heater.info.unit != "%":
        raise document.refuse((*where, "output"), f"{table.output} is in {heater.info.unit}, not %")
    gains = Gains(table.proportional, table.integral, table.highest)
    return Heating(table.sensor, name, table.output, table.trip, table.reset, gains)


def _titration(
    document: Document, name: str, table: TitrationTable, channels: Mapping[str, Channel]
) -> Titration:
    where = ("controllers", name)
    if table.raising is None and table.lowering is None:
        raise document.refuse(where, "name a pump: raising, lowering, or both")
    for key, pump in (("raising", table.raising), ("lowering", table.lowering)):
        if pump is None:
            continue
        demand(document, channels, (*where, key), pump, "pump")
        _refuse_dose(document, (*where, "dose_ml"), table.dose_ml, channels[pump])
    return Titration(
        table.sensor, name, table.raising, table.lowering, table.band, table.dose_ml, table.every
    )


def _refuse_dose(document: Document, where: tuple[str, ...], dose_ml: float, pump: Channel) -> None:
    """Refuse a dose that the pump can never give.

    Raises:
        ConfigurationError: It is less than the pump moves, or more than its limits allow.
    """
    name, limits = pump.info.name, pump.info.limits
    if dose_ml < pump.least_ml:
        raise document.refuse(
            where,
            f"{dose_ml:g} mL is less than {name} can move at a time, which is "
            f"{pump.least_ml:.2g} mL: choose more, or thin what it pumps",
        )
    for most, span in (
        (limits.max_dose_ml, ""),
        (limits.max_hourly_ml, " in an hour"),
        (limits.max_total_ml, " in a run"),
    ):
        if most is not None and dose_ml > most:
            raise document.refuse(
                where, f"{dose_ml:g} mL is more than {name} may dose{span}: {most:g} mL"
            )


def _setpoint(name: str, table: ThermostatTable | TitrationTable, held: Channel) -> Channel:
    info = ChannelInfo(
        name=name,
        kind="setpoint",
        quantity=held.info.quantity,
        unit=held.info.unit,
        label=table.label or f"{held.info.label} setpoint (0 is off)",
        driver=CONTROLLER,
        period=held.info.period,
        limits=ChannelLimits(minimum=table.minimum, maximum=table.maximum),
        safe_value=0.0,
        precision=held.info.precision,
    )
    return Channel(info, wired=False)


def demand(
    document: Document,
    channels: Mapping[str, Channel],
    where: tuple[str, ...],
    name: str,
    kind: str,
) -> None:
    """Demand that a channel is there and of a kind.

    Raises:
        ConfigurationError: It is not.
    """
    channel = channels.get(name)
    if channel is None or channel.info.kind != kind:
        there = ", ".join(_of_kind(channels, kind)) or "none"
        raise document.refuse(where, f"there is no {kind} {name!r}; there are: {there}")


def _of_kind(channels: Mapping[str, Channel], kind: str) -> Iterator[str]:
    return (name for name, channel in channels.items() if channel.info.kind == kind)
