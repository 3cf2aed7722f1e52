"""A whole system as a person starts it: `bioreactor up` as a process of its own."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx

from tests.support.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
BIOREACTOR = Path(sys.executable).with_name("bioreactor")

T = TypeVar("T")


def wait_for(what: str, condition: Callable[[], T | None], seconds: float = 60.0) -> T:
    """Return the condition's first truthy value, or fail naming what never came."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}; last: {value!r}")
        time.sleep(0.05)


@dataclass
class System:
    """A running system; use as a context manager."""

    data: Path
    process: subprocess.Popen[str]
    ready: Mapping[str, Any]
    http: httpx.Client

    @classmethod
    def start(cls, data: Path, *options: str) -> Self:
        """Run `bioreactor up` on free ports and wait until it says that it is ready."""
        process = subprocess.Popen(
            [
                str(BIOREACTOR), "up", "--json", "--data", str(data),
                "--portal-port", "0", "--broker-port", "0", *options,
            ],
            stdout=subprocess.PIPE,
            stderr=None,
            text=True,
            cwd=ROOT,
            env={**os.environ, **base_image()},
        )  # fmt: skip
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            process.wait(30)
            raise AssertionError(f"`bioreactor up` ended with {process.returncode}\n{logs(data)}")
        ready = json.loads(line)
        # One user for all calls, the same one after a restart on the same data.
        http = httpx.Client(
            base_url=ready["portal"],
            timeout=30,
            follow_redirects=True,
            headers={"X-Session-ID": "the-user-of-this-test"},
        )
        return cls(data, process, ready, http)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is not None:
            sys.stderr.write(logs(self.data))
        self.stop()

    def stop(self) -> int:
        """Stop as Ctrl-C does and return the exit code."""
        self.http.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(90)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
            raise AssertionError(f"did not stop within 90 s\n{logs(self.data)}") from None
        finally:
            if self.process.stdout is not None:
                self.process.stdout.close()
        return code

    def cli(
        self, *arguments: str, timeout: float = 120, check: bool = True, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line against this system."""
        done = subprocess.run(
            [str(BIOREACTOR), *arguments, "--data", str(self.data)],
            capture_output=True, text=True, timeout=timeout, input=stdin, cwd=ROOT, check=False,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, (
                f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def mosquitto(
        self, program: str, *arguments: str, stdin: str | None = None, timeout: float = 30
    ) -> subprocess.CompletedProcess[str]:
        """Run mosquitto_pub, mosquitto_sub or mosquitto_rr with the administrator's credentials."""
        return subprocess.run(
            [program, *arguments],
            capture_output=True, text=True, timeout=timeout, input=stdin, check=True,
            env={**os.environ, "XDG_CONFIG_HOME": str(self.data / "clients")},
        )  # fmt: skip

    def listen(self, topic: str) -> "Listener":
        """Return a listener to one topic below the root, subscribed when entered."""
        return Listener(self, topic)

    def restart(self, module: str) -> None:
        """Kill a service; `up` starts it again. Returns when the new one is ready."""
        pid = self.children()[module]
        os.kill(pid, signal.SIGKILL)
        wait_for(f"a new {module}", lambda: self.children().get(module, pid) != pid)
        wait_for("the hub", self._hub_is_online)

    @contextmanager
    def without(self, *words: str) -> Iterator[None]:
        """Kill the processes whose command lines have all these words; keep them dead meanwhile.

        Afterwards `up` starts them again.
        """
        found = [
            pid
            for pid in descendants(self.process.pid)
            if all(any(word in part for part in command_line(pid)) for word in words)
        ]
        assert found, f"nothing runs with {words}"
        os.kill(self.process.pid, signal.SIGSTOP)  # it would start them again at once
        try:
            for pid in found:
                os.kill(pid, signal.SIGKILL)
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)

    def _hub_is_online(self) -> bool:
        try:
            return bool(self.http.get("/health").json()["hub"] == "online")
        except httpx.TransportError:
            return False

    def start_experiment(self, script: str, **more: Any) -> str:
        """Submit over REST and return the id."""
        answer = self.http.post("/api/experiments/start", json={"script_content": script, **more})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["experiment_id"])

    def status(self, experiment_id: str) -> dict[str, Any]:
        """Return what REST says of an experiment."""
        answer = self.http.get(f"/api/experiments/{experiment_id}/status")
        assert answer.status_code == 200, answer.text
        experiment: dict[str, Any] = answer.json()["experiment"]
        return experiment

    def wait_status(
        self, experiment_id: str, *wanted: str, seconds: float = 120.0
    ) -> dict[str, Any]:
        """Wait until an experiment is in one of the states."""

        def reached() -> dict[str, Any] | None:
            now = self.status(experiment_id)
            if now["status"] in wanted:
                return now
            if now["status"] in {"completed", "failed", "cancelled"}:
                raise AssertionError(f"{experiment_id} is {now}")
            return None

        return wait_for(f"{experiment_id} {'/'.join(wanted)}", reached, seconds)

    def children(self) -> dict[str, int]:
        """Return the processes that `up` keeps, by the module they run."""
        found: dict[str, int] = {}
        for pid in descendants(self.process.pid):
            argv = command_line(pid)
            if "-m" in argv and len(argv) > argv.index("-m") + 1:
                found.setdefault(argv[argv.index("-m") + 1], pid)
        return found


def base_image() -> dict[str, str]:
    """Return the environment that names the base of the experiment image on this machine."""
    name = subprocess.run(
        [ROOT / "tools" / "base-image"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return {"BIOREACTOR_NODE_BASE_IMAGE": name} if name else {}


class Listener:
    """Reads one topic with mosquitto_sub; subscribed when entered."""

    def __init__(self, system: System, topic: str) -> None:
        self._system = system
        self._topic = topic
        self._process: subprocess.Popen[bytes] | None = None
        self._pending = b""

    def __enter__(self) -> Self:
        # -d says when the subscription is acknowledged; messages come on the same stream.
        self._process = subprocess.Popen(
            ["stdbuf", "-oL", "mosquitto_sub", "-d", "-q", "1", "-t", f"bioreactor/{self._topic}"],
            stdout=subprocess.PIPE,
            env={**os.environ, "XDG_CONFIG_HOME": str(self._system.data / "clients")},
        )
        deadline = time.monotonic() + PATIENCE
        while "Subscribed" not in self._read(deadline):
            pass
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(10)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def line(self, seconds: float = PATIENCE) -> str:
        """Return the next message's payload, one line."""
        deadline = time.monotonic() + seconds
        while True:
            text = self._read(deadline)
            if text and not text.startswith(("Client ", "Subscribed")):
                return text

    def _read(self, deadline: float) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        while b"\n" not in self._pending:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self._process.stdout], [], [], max(left, 0))
            chunk = os.read(self._process.stdout.fileno(), 65536) if ready else b""
            if not chunk:
                raise AssertionError(f"nothing more on {self._topic}; last: {self._pending!r}")
            self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode()


def descendants(pid: int) -> list[int]:
    """Return the process ids below one, parents first."""
    found: list[int] = []
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    level = [pid]
    while level:
        level = [child for child, parent in parents.items() if parent in level]
        found.extend(level)
    return found


def command_line(pid: int) -> Sequence[str]:
    """Return a process's arguments; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return ()


def logs(data: Path) -> str:
    """Return the end of every service's log."""
    text = ""
    for log in sorted((data / "logs").glob("*.log")):
        text += f"\n--- {log.name}\n" + "\n".join(log.read_text().splitlines()[-40:])
    return text
