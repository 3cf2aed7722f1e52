"""From `reactor.toml` to equipment and drivers; whatever does not fit names its line."""

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from broker.messages import ChannelInfo, ChannelLimits
from hardware.channels import Channel, Equipment, Gains, Heating, Titration, Vessel
from hardware.clock import Clock
from hardware.configuration.document import Document
from hardware.configuration.kinds import (
    Kind,
    Offer,
    Options,
    Order,
    SerialOptions,
    UnknownKindError,
    find,
)
from hardware.configuration.tables import (
    ChannelTable,
    ReactorTable,
    ThermostatTable,
    TitrationTable,
)
from hardware.drivers.interface import Driver

M = TypeVar("M", bound=BaseModel)

CONTROLLER: Final = "controller"
"""The driver that a setpoint's channel names."""


@dataclass(frozen=True, slots=True)
class Configured:
    """What a file describes.

    Attributes:
        label: For people; None where the file gives none.
        equipment: Channels, vessel, controllers.
        drivers: Not entered yet.
    """

    label: str | None
    equipment: Equipment
    drivers: tuple[Driver, ...]


class Readings:
    """The last sound value of each channel, for drivers that compensate with another's."""

    def __init__(self) -> None:
        self._look: Callable[[str], float | None] = lambda _: None

    def __call__(self, channel: str) -> float | None:
        """Return it; None where there is none."""
        return self._look(channel)

    def come_from(self, look: Callable[[str], float | None]) -> None:
        """Say who knows."""
        self._look = look


def configure(path: Path, *, clock: Clock, directory: Path, readings: Readings) -> Configured:
    """Read a file and make what it describes.

    Args:
        path: `reactor.toml`.
        clock: Whose seconds count.
        directory: Where drivers keep what must survive a restart.
        readings: What drivers may ask for another channel's value.

    Raises:
        ConfigurationError: The first thing that is wrong, with its line and what to do.
    """
    document = Document.read(path)
    table = _validated(document, ReactorTable, document.data, ())
    kinds = {name: _kind(document, name, device.driver) for name, device in table.devices.items()}
    options = {
        name: _validated(document, kinds[name].options, device.model_extra or {}, ("devices", name))
        for name, device in table.devices.items()
    }
    _no_port_twice(document, options)
    heated = {c.output for c in table.controllers.values() if isinstance(c, ThermostatTable)}
    offers: dict[str, tuple[str, Offer]] = {}
    for name, channel in table.channels.items():
        offers[name] = _offer(document, name, channel, kinds)
    channels = [
        _channel(document, name, table.channels[name], offer, controlled=name in heated)
        for name, (_, offer) in offers.items()
    ]
    equipment = _controlled(document, table, channels)
    for name, option in options.items():
        for key, channel in option.channels_named().items():
            _demand(document, equipment.channels, ("devices", name, key), channel, "sensor")
    drivers = []
    for device, kind in kinds.items():
        served = {
            offers[name][0]: name
            for name, channel in table.channels.items()
            if channel.device == device
        }
        order = Order(
            name=device,
            channels=served,
            flows={n: equipment.channels[n].flow for n in served.values()},
            clock=clock,
            directory=directory,
            reading=readings,
        )
        try:
            drivers.append(kind.make(order, options[device]))
        except ValueError as error:
            raise document.refuse(("devices", device), str(error)) from error
    return Configured(table.label, equipment, tuple(drivers))


def _validated(
    document: Document, model: type[M], data: Mapping[str, object], below: tuple[str, ...]
) -> M:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = tuple(part for part in first["loc"] if part not in {"thermostat", "titration"})
        what = first["msg"]
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(where[-1]), _fields(model, where), n=1, cutoff=0.5)
            what = f"there is no such key{f'; did you mean {near[0]}?' if near else ''}"
        elif first["type"] == "missing":
            what = "this key is needed"
        raise document.refuse((*below, *where), what) from error


def _fields(model: type[BaseModel], where: tuple[str | int, ...]) -> list[str]:
    """Return keys that might have been meant."""
    tables: Mapping[str, list[type[BaseModel]]] = {
        "channels": [ChannelTable],
        "controllers": [ThermostatTable, TitrationTable],
    }
    near = tables.get(str(where[0]), [model]) if len(where) > 1 else [model]
    return [field for table in near for field in table.model_fields]


def _kind(document: Document, device: str, driver: str) -> Kind[Any]:
    try:
        return find(driver)
    except UnknownKindError as error:
        raise document.refuse(("devices", device, "driver"), str(error)) from error


def _no_port_twice(document: Document, options: Mapping[str, Options]) -> None:
    taken: dict[Path, str] = {}
    for name, option in options.items():
        if not isinstance(option, SerialOptions):
            continue
        port = option.port.resolve()
        if port in taken:
            raise document.refuse(
                ("devices", name, "port"),
                f"{option.port} is the port of {taken[port]} already; give each device its own",
            )
        taken[port] = name


def _offer(
    document: Document, name: str, channel: ChannelTable, kinds: Mapping[str, Kind[Any]]
) -> tuple[str, Offer]:
    kind = kinds.get(channel.device)
    if kind is None:
        raise document.refuse(
            ("channels", name, "device"),
            f"there is no device {channel.device!r}; there are {', '.join(kinds)}",
        )
    listed = ", ".join(kind.offers)
    if channel.what is None:
        if len(kind.offers) != 1:
            raise document.refuse(
                ("channels", name), f"{channel.device} offers {listed}: say which with `what`"
            )
        return next(iter(kind.offers.items()))
    offer = kind.offers.get(channel.what)
    if offer is None:
        raise document.refuse(
            ("channels", name, "what"),
            f"{channel.device} ({kind.label}) has no {channel.what!r}; it offers {listed}",
        )
    return channel.what, offer


def _channel(
    document: Document, name: str, table: ChannelTable, offer: Offer, *, controlled: bool
) -> Channel:
    where = ("channels", name)
    if offer.heats and not controlled:
        raise document.refuse(
            where, 'a heater needs a controller: [controllers.NAME] with kind = "thermostat"'
        )
    least, most = offer.span
    for key, value in (("minimum", table.minimum), ("maximum", table.maximum)):
        low = least is not None and value is not None and value < least
        high = most is not None and value is not None and value > most
        if low or high:
            raise document.refuse(
                (*where, key),
                f"{value:g} {offer.unit} is beyond the device, which has {least:g} to {most:g}",
            )
    minimum = least if table.minimum is None else table.minimum
    maximum = most if table.maximum is None else table.maximum
    if minimum is not None and maximum is not None and minimum >= maximum:
        raise document.refuse(
            where, f"the minimum {minimum:g} is not below the maximum {maximum:g}"
        )
    pump = offer.kind == "pump"
    flow = table.flow if table.flow is not None else offer.flow
    for key, needed, given in (
        ("direction", pump, table.direction),
        ("flow", pump, flow),
        ("max_dose_ml", pump, table.max_dose_ml),
        ("max_hourly_ml", pump, table.max_hourly_ml),
        ("max_total_ml", pump, table.max_total_ml),
    ):
        if needed and given is None:
            raise document.refuse(where, f"a pump needs {key}")
        if not needed and given is not None:
            raise document.refuse((*where, key), f"only a pump has {key}; this is a {offer.kind}")
    sensor = offer.kind == "sensor"
    if sensor and (table.slew_per_s or table.max_on_time):
        raise document.refuse(where, "a sensor has neither slew_per_s nor max_on_time")
    info = ChannelInfo(
        name=name,
        kind="sensor" if controlled else offer.kind,
        quantity=offer.quantity,
        unit=offer.unit,
        label=table.label or offer.label,
        driver=table.device,
        period=table.period or offer.period,
        limits=ChannelLimits(
            minimum=minimum,
            maximum=maximum,
            slew_per_s=table.slew_per_s,
            max_on_time=table.max_on_time,
            max_dose_ml=table.max_dose_ml,
            max_hourly_ml=table.max_hourly_ml,
            max_total_ml=table.max_total_ml,
        ),
        safe_value=None if sensor else table.safe,
        precision=offer.precision if table.precision is None else table.precision,
    )
    return Channel(
        info,
        flow=flow or 0.0,
        direction=table.direction,
        controlled=controlled,
        rest=table.rest,
        stale_after=table.stale_after,
    )


def _controlled(document: Document, table: ReactorTable, channels: list[Channel]) -> Equipment:
    by_name = {channel.info.name: channel for channel in channels}
    heating: Heating | None = None
    titrations: list[Titration] = []
    for name, controller in table.controllers.items():
        where = ("controllers", name)
        if name in by_name:
            raise document.refuse(where, f"a channel is called {name} too; choose another name")
        _demand(document, by_name, (*where, "sensor"), controller.sensor, "sensor")
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
            _demand(document, by_name, ("vessel", "sensor"), filled.sensor, "sensor")
        vessel = Vessel(filled.sensor, filled.filled, filled.low, filled.high, filled.straw)
    inward = [c.info.name for c in channels if c.direction == "in"]
    if vessel is None and inward:
        raise document.refuse(
            ("channels", inward[0]),
            "a pump that fills needs [vessel] with filled, low and high: nothing may overflow",
        )
    return Equipment.of(channels, vessel=vessel, heating=heating, titrations=titrations)


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
        _demand(document, channels, (*where, key), pump, "pump")
        most = channels[pump].info.limits.max_dose_ml
        if most is not None and table.dose_ml > most:
            raise document.refuse(
                (*where, "dose_ml"),
                f"{table.dose_ml:g} mL is more than {pump} may dose: {most:g} mL",
            )
    return Titration(
        table.sensor, name, table.raising, table.lowering, table.band, table.dose_ml, table.every
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


def _demand(
    document: Document,
    channels: Mapping[str, Channel],
    where: tuple[str, ...],
    name: str,
    kind: str,
) -> None:
    channel = channels.get(name)
    if channel is None or channel.info.kind != kind:
        there = ", ".join(_of_kind(channels, kind)) or "none"
        raise document.refuse(where, f"there is no {kind} {name!r}; there are: {there}")


def _of_kind(channels: Mapping[str, Channel], kind: str) -> Iterator[str]:
    return (name for name, channel in channels.items() if channel.info.kind == kind)
