"""A container engine of a test's own, to be stopped and killed; the machine's is left alone."""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

START_SECONDS: Final = 60.0


@dataclass
class PrivateEngine:
    """A Docker daemon with its own socket, containers and images.

    Args:
        directory: Short, since sockets are below it.
        live_restore: Whether containers run on while it is away.
    """

    directory: Path
    live_restore: bool
    _process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """For `DOCKER_HOST`."""
        return f"unix://{self.directory}/sock"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is None:
            self.start()
        if containers := self.ask("ps", "-aq"):
            self.ask("rm", "-f", *containers)
        self.stop()

    def start(self) -> None:
        log = (self.directory / "log").open("ab")
        self._process = subprocess.Popen(
            [
                # In a network of its own: without a bridge it removes docker0, whoever's that is.
                "unshare", "--net",
                "dockerd", f"--host={self.host}", f"--live-restore={'ft'[self.live_restore]}",
                f"--data-root={self.directory}/data", f"--exec-root={self.directory}/run",
                f"--pidfile={self.directory}/pid", "--bridge=none", "--iptables=false",
                "--ip-masq=false", "--shutdown-timeout=5",
            ],
            stdout=log, stderr=log,
        )  # fmt: skip
        log.close()
        deadline = time.monotonic() + START_SECONDS
        while subprocess.run(self._command("version"), capture_output=True, check=False).returncode:
            assert self._process.poll() is None, (self.directory / "log").read_text()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop it as a service manager does."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def kill(self) -> None:
        """Kill it as the kernel does when memory runs out."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None

    def load(self, image: str) -> None:
        """Copy an image from the machine's engine."""
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saving:
            subprocess.run(
                self._command("load"), stdin=saving.stdout, check=True, capture_output=True
            )

    def ask(self, *arguments: str) -> list[str]:
        """Return the words of its answer."""
        done = subprocess.run(self._command(*arguments), capture_output=True, text=True, check=True)
        return done.stdout.split()

    def _command(self, *arguments: str) -> list[str]:
        return ["docker", "--host", self.host, *arguments]
