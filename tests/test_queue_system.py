"""Check a running system's queue over REST, one thing after another.

    python test_queue_system.py [ADDRESS]        (http://127.0.0.1:8000 if absent)

It needs the standard library alone. As a user of its own it submits three small scripts, which
touch no output of any reactor, to one reactor; it pauses, resumes, moves, cancels and lists them,
and leaves nothing running. Exit status: 0 all is well, 1 a check failed, 2 nothing could be asked.
"""

import asyncio
import io
import json
import secrets
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, Final, TextIO

DEFAULT: Final = "http://127.0.0.1:8000"
PATIENCE_S: Final = 180.0
"""For what a reactor has to do: the first run may wait for an image."""
SOON_S: Final = 15.0
"""For what the hub does alone."""
SCRIPT: Final = """\
# /// script
# [tool.bioreactor]
# name = "queue check"
# max_duration = "30 min"
{node}# ///
import time
print("the queue check runs")
for _ in range(600):
    time.sleep(1)
"""

Json = dict[str, Any]


class CheckError(Exception):
    """What was found instead of what should be."""


class Unreachable(Exception):  # noqa: N818  no error of the system, but the lack of one
    """The system does not answer at this address."""


class Queue:
    """The REST interface, as one user.

    Args:
        address: Of the portal.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self.session = f"queue-check-{secrets.token_hex(16)}"

    def call(
        self, method: str, path: str, body: Json | None = None, *, session: str = ""
    ) -> tuple[int, Json]:
        """Return status and JSON of one call.

        Raises:
            Unreachable: Nobody answers there, or not with JSON.
        """
        if not self.address.startswith(("http://", "https://")):
            raise Unreachable(f"{self.address} is no address: write http://HOST:PORT")
        request = urllib.request.Request(  # noqa: S310  http or https, see above
            self.address + path,
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json", "X-Session-ID": session or self.session},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _json(error.read(), path)
        except (OSError, ValueError) as error:
            raise Unreachable(f"{self.address}{path}: {error}") from error

    def get(self, path: str) -> Json:
        """Return what a call answers, which must go well."""
        return _well("GET", path, self.call("GET", path))

    def post(self, path: str, body: Json | None = None) -> Json:
        """Return what a call answers, which must go well."""
        return _well("POST", path, self.call("POST", path, body))

    def status(self, experiment_id: str) -> Json:
        """Return where an experiment is."""
        found: Json = self.get(f"/api/experiments/{experiment_id}/status")["experiment"]
        return found

    def until(
        self, experiment_id: str, what: str, met: Callable[[Json], object], within: float
    ) -> Json:
        """Wait until an experiment is as it should be."""
        deadline = time.monotonic() + within
        while True:
            now = self.status(experiment_id)
            if met(now):
                return now
            if time.monotonic() > deadline:
                raise CheckError(
                    f"not {what} within {within:g} s; it is {now['status']}, "
                    f"{now.get('phase') or 'no phase'}, {now.get('phase_detail') or 'no detail'}"
                )
            time.sleep(0.1)


class Checks:
    """The checks, in the order in which they build on one another."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._mine: list[str] = []
        self._node = ""
        self._starts = False

    def __iter__(self) -> Iterator[tuple[str, Callable[[], str]]]:
        """Yield each check with its name; it returns what it saw."""
        yield "queue status", self.queue_status
        yield "submission", self.submission
        yield "monitoring", self.monitoring
        yield "pause", self.pause
        yield "resume", self.resume
        yield "reorder", self.reorder
        yield "cancel", self.cancel
        yield "user listing", self.listing

    def queue_status(self) -> str:
        """The queue says how many run and wait, and lists them."""
        told = self._queue.get("/api/queue/status")
        for field in ("total_queued", "total_running", "queue", "running", "posture"):
            _demand(field in told, f"{field} is missing")
        _demand(
            sum(e["status"] == "queued" for e in told["queue"]) <= told["total_queued"],
            "it lists more experiments than it counts",
        )
        nodes = self._queue.get("/api/nodes")["nodes"]
        idle = [n["id"] for n in nodes if n["online"] and (n["report"] or {}).get("accepts")]
        free = told["posture"] == "running" and not told["total_queued"]
        self._starts = bool(idle) and free
        self._node = (idle or [n["id"] for n in nodes if n["online"]] or [""])[0]
        return f"{told['total_running']} running, {told['total_queued']} queued, {told['posture']}"

    def submission(self) -> str:
        """Three experiments are taken; the same request again is not a fourth."""
        for _ in range(3):
            node = f'# node = "{self._node}"\n' if self._node else ""
            told = self._queue.post(
                "/api/experiments/start", {"script_content": SCRIPT.format(node=node)}
            )
            _demand(told["status"] in {"queued", "running"}, f"it is {told['status']} at once")
            self._mine.append(told["experiment_id"])
        code, told = self._queue.call("POST", "/api/experiments/start", {"script_content": "if\n"})
        _demand(code == 400 and "detail" in told, f"a script that is not Python: {code} {told}")
        return f"{len(self._mine)} experiments for {self._node or 'any reactor'}"

    def monitoring(self) -> str:
        """The first one runs and writes its log; the others wait, one behind the other."""
        first, second, third = self._mine
        if self._starts:
            self._queue.until(first, "executing", _executing, PATIENCE_S)
            deadline = time.monotonic() + PATIENCE_S
            while not self._queue.get(f"/api/experiments/{first}/logs")["lines"]:
                _demand(time.monotonic() < deadline, "it writes no log")
                time.sleep(0.2)
        places = [self._queue.status(one)["queue_position"] for one in (second, third)]
        _demand(None not in places and places[0] < places[1], f"their places are {places}")
        listed = [e["experiment_id"] for e in self._queue.get("/api/queue/status")["queue"]]
        _demand(listed.index(second) < listed.index(third), "the queue lists them out of order")
        return f"places {places[0]} and {places[1]}" + ("; the first runs" * self._starts)

    def pause(self) -> str:
        """One that waits is passed over, one that runs is held."""
        first, second, _ = self._mine
        self._command(second, "pause")
        held = self._queue.until(second, "paused", _is("paused"), SOON_S)
        _demand(held["queue_position"] is None, "a paused one has a place in the queue")
        if not self._starts:
            return "one that waits"
        self._command(first, "pause")
        self._queue.until(first, "paused", _is("paused"), PATIENCE_S)
        return "one that waits, one that runs"

    def resume(self) -> str:
        """Both go on, where they were."""
        first, second, third = self._mine
        self._command(second, "resume")
        back = self._queue.until(second, "queued", _is("queued"), SOON_S)
        ahead = back["queue_position"] < self._queue.status(third)["queue_position"]
        _demand(ahead, "it has lost its place")
        code, _ = self._queue.call("POST", f"/api/experiments/{second}/resume")
        _demand(code == 409, f"resuming what is not paused is answered {code}")
        if self._starts:
            self._command(first, "resume")
            self._queue.until(first, "running", _executing, PATIENCE_S)
        return "back in its place" + ("; the first runs on" * self._starts)

    def reorder(self) -> str:
        """Behind another one, and to a position; only backwards, so that nobody is overtaken."""
        _, second, third = self._mine
        self._queue.post(f"/api/experiments/{second}/reorder?after={third}")
        _demand(self._place(second) > self._place(third), "it did not move behind")
        there = self._place(second)
        self._queue.post(f"/api/experiments/{third}/reorder?new_position={there}")
        _demand(self._place(third) > self._place(second), "it did not move to the position")
        return f"to {self._place(second)} and {self._place(third)}"

    def cancel(self) -> str:
        """Everything ends; what is over stays as it is."""
        for one in reversed(self._mine):  # lest one starts when the one ahead of it ends
            self._command(one, "cancel")
        for one in self._mine:
            self._queue.until(one, "cancelled", _is("cancelled"), PATIENCE_S)
        code, told = self._queue.call("POST", f"/api/experiments/{self._mine[0]}/cancel")
        _demand(code == 409 and "detail" in told, f"cancelling again is answered {code}")
        return f"{len(self._mine)} cancelled"

    def listing(self) -> str:
        """This user sees these experiments, another one none of them."""
        mine = {e["experiment_id"] for e in self._queue.get("/api/experiments/user")["experiments"]}
        _demand(mine == set(self._mine), f"{sorted(mine)} are listed")
        stranger = f"stranger-{secrets.token_hex(16)}"
        _, told = self._queue.call("GET", "/api/experiments/user", session=stranger)
        _demand(told["experiments"] == [], "another user sees experiments of this one")
        return f"{len(mine)} experiments of this user, none of another's"

    def tidy(self) -> None:
        """Cancel what a failed check left."""
        for one in reversed(self._mine):
            self._queue.call("POST", f"/api/experiments/{one}/cancel")

    def _command(self, one: str, verb: str) -> None:
        told = self._queue.post(f"/api/experiments/{one}/{verb}")
        _demand(told["success"] is True, f"{verb} is answered {told}")

    def _place(self, one: str) -> int:
        place = self._queue.status(one)["queue_position"]
        _demand(isinstance(place, int), f"its place is {place}")
        return int(place)


def check(address: str, out: TextIO) -> int:
    """Run all checks, one line each; return the exit status."""
    queue = Queue(address)
    checks = Checks(queue)
    passed = 0
    try:
        for name, run in checks:
            try:
                out.write(f"ok    {name}: {run()}\n")
            except CheckError as error:
                out.write(f"FAIL  {name}: {error}\n")
                return 1
            passed += 1
            out.flush()
    except Unreachable as error:
        out.write(f"FAIL  {error}\n")
        return 2
    finally:
        if passed < len(list(checks)):
            _tidy(checks, out)
    out.write(f"all {passed} checks passed at {queue.address}\n")
    return 0


def _tidy(checks: Checks, out: TextIO) -> None:
    try:
        checks.tidy()
    except Unreachable as error:
        out.write(f"      something may be left in the queue: {error}\n")


def _json(data: bytes, path: str) -> Json:
    try:
        told = json.loads(data)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise Unreachable(f"{path} is not answered with JSON: {data[:80]!r}")
    return told


def _well(method: str, path: str, answer: tuple[int, Json]) -> Json:
    code, told = answer
    _demand(code == 200, f"{method} {path} is answered {code}: {told.get('detail', told)}")
    return told


def _demand(fact: bool, otherwise: str) -> None:
    if not fact:
        raise CheckError(otherwise)


def _is(status: str) -> Callable[[Json], bool]:
    return lambda now: now["status"] == status


def _executing(now: Json) -> bool:
    return now["status"] == "running" and now.get("phase") == "executing"


async def test_queue_system(queue_system: str) -> None:
    """The same checks, against a system that the tests start."""
    assert await asyncio.to_thread(check, queue_system, sys.stdout) == 0


async def test_a_system_that_is_not_there_is_told_from_one_that_fails() -> None:
    said = io.StringIO()
    assert await asyncio.to_thread(check, "http://127.0.0.1:1", said) == 2
    assert "refused" in said.getvalue()
    assert await asyncio.to_thread(check, "file:///etc/passwd", said) == 2


def main() -> None:
    """Check the system whose address is given."""
    arguments = sys.argv[1:]
    if len(arguments) > 1 or arguments[:1] in (["-h"], ["--help"]):
        sys.stdout.write(__doc__ or "")
        sys.exit(0 if len(arguments) == 1 else 2)
    sys.exit(check(arguments[0] if arguments else DEFAULT, sys.stdout))


if __name__ == "__main__":
    main()
