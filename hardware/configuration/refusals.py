"""What a `reactor.toml` may not ask of outputs and pumps."""

from hardware.configuration.document import Document
from hardware.configuration.kinds import Offer
from hardware.configuration.tables import ChannelTable


def refuse_unsafe(  # noqa: PLR0917 - what a safe value is judged by
    document: Document,
    where: tuple[str, ...],
    table: ChannelTable,
    offer: Offer,
    minimum: float | None,
    maximum: float | None,
) -> None:
    """Refuse a safe value that is none.

    Raises:
        ConfigurationError: The output would never be off, or be set to what it cannot take.
    """
    safe, key = table.safe, (*where, "safe")
    if offer.heats and minimum is not None and minimum > 0:
        raise document.refuse(
            (*where, "minimum"), "a heater must be able to be off: leave minimum out"
        )
    if safe == 0:
        return
    if offer.kind not in {"actuator", "setpoint"}:
        raise document.refuse(
            key, f"only an output has safe; this is a {offer.kind}: leave safe out"
        )
    if offer.heats:
        raise document.refuse(
            key, f"{safe:g} {offer.unit} is not off: nothing may heat unattended; leave safe out"
        )
    low = minimum is not None and safe < minimum
    high = maximum is not None and safe > maximum
    if low or high:
        raise document.refuse(
            key,
            f"{safe:g} {offer.unit} is not from {_bound(minimum)} to {_bound(maximum)}: choose one "
            "that is, or 0, which is off",
        )


def _bound(value: float | None) -> str:
    return "any" if value is None else f"{value:g}"


def refuse_pump(
    document: Document,
    where: tuple[str, ...],
    table: ChannelTable,
    offer: Offer,
    flow: float | None,
) -> None:
    """Refuse what is missing of a pump, what only a pump has, and what the pump cannot.

    Raises:
        ConfigurationError: It is so.
    """
    pump = offer.kind == "pump"
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
    if flow is not None and offer.fastest is not None and flow > offer.fastest:
        raise document.refuse(
            (*where, "flow"),
            f"{flow:g} mL/s is more than the pump can, which is {offer.fastest:g}: "
            "choose less, or leave flow out",
        )
    if table.max_dose_ml is not None and table.max_dose_ml < offer.least_ml:
        raise document.refuse(
            (*where, "max_dose_ml"),
            f"{table.max_dose_ml:g} mL is less than the pump can move at a time, which is "
            f"{offer.least_ml:.2g}: it could never dose; choose more",
        )
