"""From `reactor.toml` to equipment and drivers; whatever does not fit names its line."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from broker.messages import ChannelInfo, ChannelLimits
from hardware.calibration.record import CalibrationBook, CalibrationFileError
from hardware.channels import Channel, Equipment
from hardware.clock import Clock
from hardware.configuration.controlling import controlled, demand
from hardware.configuration.document import ConfigurationError, Document
from hardware.configuration.kinds import (
    Kind,
    Offer,
    Options,
    Order,
    SerialOptions,
    UnknownKindError,
    find,
)
from hardware.configuration.refusals import refuse_pump, refuse_unsafe
from hardware.configuration.tables import (
    ChannelTable,
    PlausibleTable,
    ReactorTable,
    ThermostatTable,
    TitrationTable,
)
from hardware.drivers.interface import Driver
from hardware.plausibility import Plausible, usual

M = TypeVar("M", bound=BaseModel)

CALIBRATIONS: Final = "calibrations"
"""The folder below a reactor's directory where they are kept."""


@dataclass(frozen=True, slots=True)
class Configured:
    """What a file describes.

    Attributes:
        label: For people; None where the file gives none.
        equipment: Channels, vessel, controllers.
        bare: The devices' channels without their calibrations.
        drivers: Not entered yet.
        kinds: Of the devices, by name.
        served: Which of the things its device offers a channel is.
    """

    label: str | None
    equipment: Equipment
    bare: tuple[Channel, ...]
    drivers: tuple[Driver, ...]
    kinds: Mapping[str, Kind[Any]]
    served: Mapping[str, str]


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


def configure(
    path: Path, *, clock: Clock, directory: Path, readings: Readings, calibrated: bool = True
) -> Configured:
    """Read a file and make what it describes.

    Args:
        path: `reactor.toml`.
        clock: Whose seconds count.
        directory: Where drivers keep what must survive a restart.
        readings: What drivers may ask for another channel's value.
        calibrated: Bring readings and doses onto the calibrations that are in force.

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
    _each_thing_once(document, table, {name: what for name, (what, _) in offers.items()})
    book = CalibrationBook(directory / CALIBRATIONS) if calibrated else None
    bare = [
        _channel(document, name, table.channels[name], offer, controlled=name in heated)
        for name, (_, offer) in offers.items()
    ]
    channels = [_calibrated(channel, book) for channel in bare]
    equipment = controlled(document, table, channels)
    for name, option in options.items():
        for key, channel in option.channels_named().items():
            demand(document, equipment.channels, ("devices", name, key), channel, "sensor")
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
            flows={
                n: equipment.channels[n].flow / equipment.channels[n].volume_factor
                for n in served.values()
            },
            clock=clock,
            directory=directory,
            reading=readings,
        )
        try:
            drivers.append(kind.make(order, options[device]))
        except ValueError as error:
            raise document.refuse(("devices", device), str(error)) from error
    served_as = {name: what for name, (what, _) in offers.items()}
    return Configured(table.label, equipment, tuple(bare), tuple(drivers), kinds, served_as)


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


def _each_thing_once(document: Document, table: ReactorTable, served: Mapping[str, str]) -> None:
    """Demand that every device has a channel, and that no two have the same of it."""
    by: dict[tuple[str, str], str] = {}
    for name, channel in table.channels.items():
        first = by.setdefault((channel.device, served[name]), name)
        if first != name:
            raise document.refuse(
                ("channels", name),
                f"{served[name]} of {channel.device} is {first} already; delete one of them",
            )
    for device in table.devices:
        if device not in {channel.device for channel in table.channels.values()}:
            raise document.refuse(
                ("devices", device),
                f'no channel has device = "{device}"; add one, or delete the device',
            )


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
    refuse_unsafe(document, where, table, offer, minimum, maximum)
    flow = table.flow if table.flow is not None else offer.flow
    refuse_pump(document, where, table, offer, flow)
    sensor = offer.kind == "sensor"
    if table.plausible is not None and not sensor:
        raise document.refuse(
            (*where, "plausible"), f"only a sensor has it; this is a {offer.kind}"
        )
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
        least_ml=offer.least_ml,
        plausible=_plausible(table.plausible, offer) if sensor and not controlled else None,
    )


def _plausible(table: PlausibleTable | None, offer: Offer) -> Plausible | None:
    """Return what the file says of a sensor's readings, within what is always so."""
    known = usual(offer.quantity, offer.unit)
    if table is None:
        return known
    said = Plausible(**table.model_dump())
    if known is None:
        return said
    return replace(
        said,
        low=known.low if said.low is None else said.low,
        high=known.high if said.high is None else said.high,
    )


def recalibrated(bare: Iterable[Channel], book: CalibrationBook) -> tuple[Channel, ...]:
    """Return channels with the calibrations that are in force now.

    Raises:
        ConfigurationError: A calibration's file is damaged.
    """
    return tuple(_calibrated(channel, book) for channel in bare)


def _calibrated(channel: Channel, book: CalibrationBook | None) -> Channel:
    """Return the channel with the calibration that is in force.

    Raises:
        ConfigurationError: Its file is damaged.
    """
    try:
        found = None if book is None else book.current(channel.info.name)
    except CalibrationFileError as error:
        raise ConfigurationError(str(error)) from error
    if found is None:
        return channel
    factor = found.factor or 1.0
    return replace(
        channel,
        info=channel.info.model_copy(
            update={
                "calibration": found.id,
                "calibrated_at": found.at,
                "calibration_info": found.info,
            }
        ),
        curve=found.curve,
        volume_factor=factor,
        flow=channel.flow * factor,
        least_ml=channel.least_ml * factor,
    )
