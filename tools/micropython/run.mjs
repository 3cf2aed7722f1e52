// Runs the controller board's firmware on MicroPython (its WebAssembly build) as a process.
//
//   node run.mjs FIRMWARE CHIP LINE PINS
//
// FIRMWARE: the directory that holds `board`. CHIP: the module that stands in for `machine`.
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
  idle() {
    Atomics.wait(sleeper, 0, 0, 1);
  },
});

python.runPython(`
import binascii
import sys
import time

import host

sys.path.append("/lib")
from board.controller import run
from chip import Chip


class Port:
    def read(self):
        return binascii.unhexlify(host.read())

    def write(self, data):
        host.write(binascii.hexlify(data).decode())


run(Chip(host.analog, host.changed, host.idle), time, Port())
`);
