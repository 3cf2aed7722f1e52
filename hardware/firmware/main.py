"""Started by MicroPython at power-up: copy it to the root of the board, and `board/` beside it."""

import select
import sys
import time

import machine
import micropython
from board.controller import run
from board.usb import UsbPort

# Ctrl-C is a byte like any other: a host that sends garbage must not end the firmware.
micropython.kbd_intr(-1)
poll = select.poll()
poll.register(sys.stdin, select.POLLIN)
run(machine, time, UsbPort(sys.stdin.buffer, sys.stdout.buffer, poll))
