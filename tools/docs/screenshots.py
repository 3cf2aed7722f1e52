"""Takes the pictures of the documentation: `make screenshots`.

A whole system runs for them, with two simulated reactors and an experiment at work, and Chromium
looks at it in both themes. Pictures are WebP of 1280 pixels, some tens of KiB each.
"""

import base64
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import httpx
from playwright.sync_api import Browser, ViewportSize, sync_playwright

ROOT: Final = Path(__file__).resolve().parents[2]
IMAGES: Final = ROOT / "docs" / "images"
SIZE: Final[ViewportSize] = {"width": 1280, "height": 860}
SPEED: Final = 300
SOMEBODY: Final = {"X-Session-ID": "somebody in the pictures"}
GROWN_S: Final = 40.0
"""How long the experiment grows before it is looked at: more than three hours of its own time."""

Theme = Literal["light", "dark"]


def main() -> None:
    """Take every picture anew."""
    IMAGES.mkdir(exist_ok=True)
    with _system() as portal, sync_playwright() as playwright:
        experiment = _start(portal, "turbidostat.py", target_od=0.3)
        others = [_start(portal, name) for name in ("growth_curve.py", "light_dark_cycle.py")]
        _wait_until_running(portal, experiment)
        time.sleep(GROWN_S)
        pages = {
            "home": "/",
            "experiment": f"/experiment/{experiment}",
            "upload": "/upload?example=turbidostat.py",
            "reactor": "/nodes/reactor-1",
        }
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for name, path in pages.items():
            for theme in ("light", "dark"):
                _take(browser, portal + path, theme, IMAGES / f"{name}-{theme}.webp")
        browser.close()
        for waiting in (*others, experiment):  # the last one's results are unmounted at its end
            _end(portal, waiting)


@contextmanager
def _system() -> Iterator[str]:
    """Run a system on free ports and give the portal's address."""
    with tempfile.TemporaryDirectory() as data:
        process = subprocess.Popen(
            [
                str(Path(sys.executable).with_name("bioreactor")), "up", "--json", "--data", data,
                "--portal-port", "0", "--broker-port", "0", "--reactors", "2",
                "--speed", str(SPEED), "--on-exit", "stop",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert process.stdout is not None  # noqa: S101 - piped above
        try:
            line = process.stdout.readline()
            if not line:
                raise SystemExit("`bioreactor up` did not start")
            yield str(json.loads(line)["portal"]).rstrip("/")
        finally:
            process.terminate()
            process.wait(60)


def _start(portal: str, example: str, **parameters: float) -> str:
    script = (ROOT / "examples" / example).read_text("utf-8")
    body = {"script_content": script, "parameters": parameters}
    answer = httpx.post(f"{portal}/api/experiments/start", json=body, headers=SOMEBODY, timeout=60)
    return str(answer.raise_for_status().json()["experiment_id"])


def _end(portal: str, experiment: str) -> None:
    path = f"{portal}/api/experiments/{experiment}/cancel"
    httpx.post(path, headers=SOMEBODY, timeout=60).raise_for_status()
    _wait(portal, experiment, lambda state: state["status"] == "cancelled")


def _wait_until_running(portal: str, experiment: str) -> None:
    _wait(portal, experiment, lambda state: state["phase"] == "executing")


def _wait(portal: str, experiment: str, reached: Callable[[dict[str, Any]], bool]) -> None:
    deadline = time.monotonic() + 600  # the first time, the image is built
    while True:
        state = httpx.get(f"{portal}/api/experiments/{experiment}/status").json()["experiment"]
        if reached(state):
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"not within ten minutes: {state}")
        time.sleep(0.5)


def _take(browser: Browser, url: str, theme: Theme, target: Path) -> None:
    context = browser.new_context(
        viewport=SIZE,
        color_scheme=theme,
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("#link[data-state=live]")
    page.wait_for_timeout(2500)  # a few readings, so that charts have begun
    taken = context.new_cdp_session(page).send(
        "Page.captureScreenshot", {"format": "webp", "quality": 80}
    )
    target.write_bytes(base64.b64decode(taken["data"]))
    context.close()
    print(f"{target.relative_to(ROOT)}  {target.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
