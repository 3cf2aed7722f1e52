"""Fuzz every parser for so many seconds: ``make fuzz ARGS="60"``; with names, those alone.

Mutations of what is known begin anew from whatever reached lines that nothing had reached before.
Such inputs are kept from run to run, by target, below ``$XDG_CACHE_HOME/bioreactor/fuzz``; there,
in ``findings``, lies what a parser did not cope with. The exit status says whether there was any.
"""

import logging
import os
import random
import sys
import time
import traceback
from hashlib import sha256
from pathlib import Path
from types import FrameType
from typing import Final

from tests.fuzz.mutations import mutated
from tests.fuzz.targets import NASTY, TARGETS, Target

ROOT: Final = str(Path(__file__).resolve().parents[2])
_TURN_S: Final = 0.5
Line = tuple[str, int]


class Reached:
    """Lines of the project that any input has reached."""

    def __init__(self) -> None:
        self.lines: set[Line] = set()
        self._new = False

    def by(self, target: Target, data: bytes) -> bool:
        """Run a target; return whether it came where none had been."""
        self._new = False
        sys.settrace(self._call)
        try:
            target(data)
        finally:
            sys.settrace(None)
        return self._new

    def _call(self, frame: FrameType, _event: str, _arg: object) -> "Reached | None":
        return self if frame.f_code.co_filename.startswith(ROOT) else None

    def __call__(self, frame: FrameType, _event: str, _arg: object) -> "Reached":
        line = frame.f_code.co_filename, frame.f_lineno
        if line not in self.lines:
            self.lines.add(line)
            self._new = True
        return self


def keep(directory: Path, data: bytes) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / sha256(data).hexdigest()[:16]
    path.write_bytes(data)
    return path


def main(seconds: float, names: list[str]) -> int:
    """Return how many targets have a finding."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "bioreactor" / "fuzz"
    logging.disable()  # of each damaged file a line would be said
    chance = random.Random()  # noqa: S311  no secret
    reached, found, runs = Reached(), set[str](), 0
    known = {name: [*TARGETS[name].seeds, *NASTY] for name in names}
    for name in names:
        place = cache / name.replace(" ", "-")
        known[name] += [path.read_bytes() for path in sorted(place.glob("*")) if path.is_file()]
    fresh = {name: list(inputs) for name, inputs in known.items()}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and set(names) - found:
        name = chance.choice(sorted(set(names) - found))
        place = cache / name.replace(" ", "-")
        turn = min(deadline, time.monotonic() + _TURN_S)
        while time.monotonic() < turn:
            data = fresh[name].pop() if fresh[name] else mutated(known[name], chance)
            runs += 1
            try:
                if reached.by(TARGETS[name], data) and data not in known[name]:
                    known[name].append(data)
                    keep(place, data)
            except Exception:  # noqa: BLE001  whatever it is, it is what is looked for
                found.add(name)
                print(f"{name}: {keep(place / 'findings', data)}", file=sys.stderr)  # noqa: T201
                traceback.print_exc(limit=-4)
                break
    corpus = sum(map(len, known.values()))
    print(  # noqa: T201
        f"{runs} inputs to {len(names)} parsers, {len(reached.lines)} lines reached, "
        f"{corpus} inputs known, {len(found)} parsers with a finding"
    )
    return len(found)


if __name__ == "__main__":
    sys.exit(min(1, main(float(sys.argv[1]), sys.argv[2:] or list(TARGETS))))
