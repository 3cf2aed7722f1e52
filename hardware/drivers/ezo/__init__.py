"""Atlas Scientific EZO circuits over UART: probes and the dosing pump."""
