// Runs the controller board's firmware, main.py, on MicroPython (its WebAssembly build) as a process.
//
//   node run.mjs FIRMWARE CHIP LINE PINS
//
// FIRMWARE: the directory that holds `main.py` and `board`. CHIP: stands in for `machine`. What else
// a Pico alone has (the USB port as standard input and output, `select`) is made here.
// LINE: a descriptor that we inherited, the device's end of a pseudo terminal.
// PINS: a JSON file {"pin": part of the supply}, read again and again: the voltages.
// What the firmware drives is told on standard output, a line each: "pin part milliseconds".

import fs from "node:fs";
import path from "node:path";
import { loadMicroPython } from "@micropython/micropython-webassembly-pyscript/micropython.mjs";

const [firmware, chip, descriptor, pins] = process.argv.slice(2);
const line = Number(descriptor);
const python = await loadMicroPython({ heapsize: 256 * 1024, stdout: () => {} });

python.FS.mkdir("/lib");
python.FS.mkdir("/lib/board");
for (const name of fs.readdirSync(path.join(firmware, "board"))) {
  if (name.endsWith(".py")) {
    python.FS.writeFile(`/lib/board/${name}`, fs.readFileSync(path.join(firmware, "board", name)));
  }
}
python.FS.writeFile("/lib/main.py", fs.readFileSync(path.join(firmware, "main.py")));
python.FS.writeFile("/lib/chip.py", fs.readFileSync(chip));

const buffer = Buffer.alloc(256);
const sleeper = new Int32Array(new SharedArrayBuffer(4));
let voltages = {};
let looked = -Infinity;

// Bytes go in and out as hexadecimal text: strings of the two worlds differ above 7 bits.
python.registerJsModule("host", {
  read() {
    try {
      return buffer.subarray(0, fs.readSync(line, buffer)).toString("hex");
    } catch (error) {
      if (error.code === "EAGAIN") return "";
      throw error;
    }
  },
  write(text) {
    fs.writeSync(line, Buffer.from(text, "hex"));
  },
  analog(pin) {
    if (performance.now() - looked > 20) {
      looked = performance.now();
      voltages = JSON.parse(fs.readFileSync(pins, "utf8"));
    }
    return voltages[pin] ?? 0;
  },
  changed(pin, part) {
    fs.writeSync(1, `${pin} ${part} ${Date.now()}\n`);
  },
  interrupted_by(character) {
    if (character !== -1) throw new Error("Ctrl-C must be a byte like any other");
  },
  idle() {
    Atomics.wait(sleeper, 0, 0, 1);
  },
});

python.runPython(`
import binascii
import sys
import time

import host
import micropython

sys.path.append("/lib")
from chip import Chip


class Line:
    """The USB port of a Pico: what MicroPython has there as sys.stdin.buffer and sys.stdout.buffer."""

    def __init__(self):
        self._come = b""

    def waiting(self):
        self._come += binascii.unhexlify(host.read())
        return len(self._come)

    def read(self, size):
        data, self._come = self._come[:size], self._come[size:]
        return data

    def write(self, data):
        host.write(binascii.hexlify(data).decode())


class Stream:
    def __init__(self, line):
        self.buffer = line


class Poll:
    def __init__(self):
        self._streams = []

    def register(self, stream, events):
        self._streams.append((stream, events))

    def poll(self, timeout):
        return [(s, events) for s, events in self._streams if s.buffer.waiting()]


class Module:
    """A module as a Pico has it, where this build of MicroPython has none or less of it."""


line = Line()
select, usb, interrupts = Module(), Module(), Module()
select.POLLIN = 1
select.poll = Poll
usb.stdin = usb.stdout = Stream(line)
interrupts.const = micropython.const
interrupts.kbd_intr = lambda char: host.interrupted_by(char)
sys.modules["machine"] = Chip(host.analog, host.changed, host.idle)
sys.modules["select"] = select
sys.modules["sys"] = usb
sys.modules["micropython"] = interrupts
with open("/lib/main.py") as file:
    source = file.read()
exec(compile(source, "main.py", "exec"), {"__name__": "__main__"})
`);
