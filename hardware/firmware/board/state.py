"""The board's parts, as commands see them."""

from . import settings
from .host import Host
from .line import Reader
from .optics import Optics
from .outputs import make
from .thermometer import Thermometer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hardware.firmware.pins import Machine, Ticks


class Parts:
    """Everything on the board; making it switches every output off."""

    def __init__(self, machine: "Machine", ticks: "Ticks") -> None:
        self.outputs = make(machine)
        self.host = Host(ticks, settings.TIMEOUT_MOST)
        self.reader = Reader()
        self.thermometer = Thermometer(machine.ADC(settings.THERMISTOR_ADC), ticks)
        self.thermometer.measure()
        self.optics = Optics(
            machine.Pin(settings.OD_LED_PIN, machine.Pin.OUT, value=0),
            machine.ADC(settings.OD_SIGNAL_ADC),
            machine.ADC(settings.OD_REFERENCE_ADC),
            self.outputs["light"],
            ticks,
        )
        self.hot = False
        self.serial = "".join(f"{byte:02x}" for byte in machine.unique_id())
        self.reset = "watchdog" if machine.reset_cause() == machine.WDT_RESET else "power"

    def switch_off(self) -> None:
        """Switch every output off."""
        for output in self.outputs.values():
            output.off()

    def guard_heater(self) -> None:
        """Switch the heater off when it is too hot, or when nobody knows how hot it is."""
        celsius = self.thermometer.celsius
        heater = self.outputs["heater"]
        if celsius is None:
            heater.off()
            return
        if celsius >= settings.CUTOFF:
            self.hot = True
        elif celsius < settings.CUTOFF_RESET:
            self.hot = False
        if self.hot and heater.value > 0:
            heater.off()
