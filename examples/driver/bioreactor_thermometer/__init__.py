"""A serial thermometer: ``T?`` and a line feed are answered with ``T=25.13``."""

from bioreactor_thermometer.driver import Thermometer
from broker.messages import Quantity
from hardware.configuration.kinds import Kind, Offer, Order, SerialOptions
from hardware.drivers.interface import Driver


class Options(SerialOptions):
    """What `[devices.NAME]` may say beside its driver and port.

    Attributes:
        offset: Added to what the thermometer says, °C.
    """

    offset: float = 0.0


def _make(order: Order, options: Options) -> Driver:
    return Thermometer(
        order.name, options.port, order.channels["temperature"], offset=options.offset
    )


THERMOMETER = Kind(
    label="Serial thermometer",
    options=Options,
    offers={
        "temperature": Offer(
            "sensor", Quantity.TEMPERATURE, "°C", "Temperature", span=(-40.0, 125.0)
        )
    },
    make=_make,
)
