"""Which pin does what, and the limits that no host can lift. Change this file for your board."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

FIRMWARE: "Final" = "1.0.0"
PROTOCOL: "Final" = 1

# GP numbers of the Raspberry Pi Pico.
HEATER_PIN: "Final" = 16
HEATER_DIRECTION_PIN: "Final[int | None]" = None
"""Of a Peltier's bridge: 0 heats, 1 cools. None: a plain heater, which cannot cool."""
STIRRER_PIN: "Final" = 17
LIGHT_PIN: "Final" = 18
OD_LED_PIN: "Final" = 19
OD_SIGNAL_ADC: "Final" = 26
OD_REFERENCE_ADC: "Final" = 27
THERMISTOR_ADC: "Final" = 28

HEATER_HZ: "Final" = 1000
STIRRER_HZ: "Final" = 25000
LIGHT_HZ: "Final" = 1000

HEATER_MOST: "Final" = 70.0
"""% duty. As recorded setups have it, a vial cannot be boiled with less than the whole."""
COOLER_MOST: "Final" = 10.0
"""% duty of a Peltier when it cools."""
STIRRER_LEAST: "Final" = 50.0
STIRRER_MOST: "Final" = 1000.0
STIRRER_FULL: "Final" = 1000.0
"""rpm at 100 % duty."""
LIGHT_MOST: "Final" = 100.0

CUTOFF: "Final" = 50.0
"""°C at which the board itself switches the heater off …"""
CUTOFF_RESET: "Final" = 47.0
"""… until it is colder than this. The host's own limits are lower and come first."""

TIMEOUT_LEAST: "Final" = 200
TIMEOUT_MOST: "Final" = 2000
"""ms without a beat after which the outputs go off; the host may ask for less, never for more."""
WATCHDOG: "Final" = 1000
"""ms after which a firmware that hangs is reset, which switches every output off."""

SUPPLY: "Final" = 3300.0
"""mV of the converter's reference."""
SETTLE: "Final" = 20
"""ms from switching the measuring light to the first sample."""
SAMPLES: "Final" = 64

# A thermistor from the pin to ground, a resistor from the supply to the pin.
THERMISTOR_OHM: "Final" = 10000.0
THERMISTOR_BETA: "Final" = 3950.0
DIVIDER_OHM: "Final" = 10000.0
