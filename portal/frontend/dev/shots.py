# ruff: noqa: INP001 - run by its path or with -m, no package
"""Takes pictures of every page in every state, to be looked at.

    python -m portal.frontend.dev.shots OUT [ADDRESS] [--only PART] [--widths 390] [--themes dark]

Prints what the browser complained of: errors, refused styles and scripts, wide pages.
"""

import argparse
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from portal.frontend.dev import records

ID = "01KB%022d"
PAGES = {
    "home": "/",
    "home-new": "/?state=new",
    "home-empty": "/?state=empty",
    "offline": "/offline",
    "unavailable": "/lost?status=503",
    "broken": "/lost?status=500",
    "home-paused": "/?state=paused",
    "home-alarms": "/?state=alarms",
    "home-estop": "/?state=estop",
    "home-failed": "/?state=failed",
    "home-crowded": "/?state=crowded",
    "home-broker-down": "/?state=broker-down",
    "home-hub-offline": "/?state=hub-offline",
    "upload": "/upload",
    "upload-errors": "/upload?state=errors",
    "upload-again": "/upload?state=again",
    "upload-quota": "/upload?state=quota",
    "upload-hub-offline": "/upload?state=hub-offline",
    "my-experiments": "/my-experiments",
    "my-experiments-none": "/my-experiments?state=new",
    "my-experiments-deleted": f"/my-experiments?deleted={ID % 3}&deleted={ID % 4}",
    "my-experiments-all": "/my-experiments?scope=all&sort=name",
    "my-experiments-nothing": "/my-experiments?search=zzz",
    "annotate": f"/experiment/{ID % 38}/annotate",
    "annotate-conflict": f"/experiment/{ID % 38}/annotate?state=conflict",
    "compare": f"/compare?ids={ID % 38},{ID % 36},{ID % 35}",
    "compare-nothing": "/compare",
    "queue": "/queue",
    "queue-paused": "/queue?state=paused",
    "queue-draining": "/queue?state=draining",
    "queue-recovery": "/queue?state=recovery",
    "queue-hub-offline": "/queue?state=hub-offline",
    "queue-unknown": "/queue?state=empty",
    "queue-conflict": "/queue?state=conflict",
    "queue-empty": "/queue?state=new",
    "queue-crowded": "/queue?state=crowded",
    "queue-guest": "/queue?as=guest",
    "queue-run-now": f"/experiment/{ID % 41}/run-now",
    "experiment-running": f"/experiment/{ID % 40}",
    "experiment-queued": f"/experiment/{ID % 41}",
    "experiment-preparing": f"/experiment/{ID % 42}",
    "experiment-away": f"/experiment/{ID % 44}",
    "experiment-completed": f"/experiment/{ID % 38}",
    "experiment-failed": f"/experiment/{ID % 36}",
    "experiment-paused": f"/experiment/{ID % 39}",
    "experiment-cancelled": f"/experiment/{ID % 35}",
    "reactors": "/nodes",
    "reactor": "/nodes/reactor-1",
    "reactor-estop": "/nodes/reactor-2?state=estop",
    "reactor-offline": "/nodes/reactor-3",
    "reactor-free": "/nodes/reactor-1?state=manual",
    "reactor-failed": "/nodes/reactor-1?state=failed",
    "reactor-guest": "/nodes/reactor-1?as=guest",
    "reactor-manual": "/nodes/reactor-2?state=manual",
    "reactor-broker-down": "/nodes/reactor-1?state=broker-down",
    "reactors-estop": "/nodes?state=estop",
    "reactors-none": "/nodes?state=empty",
    "admin": "/admin",
    "admin-well": "/admin?state=new",
    "admin-hub-offline": "/admin?state=hub-offline",
    "admin-users": "/admin/users",
    "admin-users-none": "/admin/users?state=new",
    "admin-retention": "/admin/retention",
    "admin-tokens": "/admin/tokens",
    "admin-tokens-made": "/admin/tokens?state=made",
    "admin-tokens-none": "/admin/tokens?state=new",
    "admin-audit": "/admin/audit",
    "error": "/lost",
}


def unfold(page: Page, width: int) -> None:
    """Make the window as high as the page: all of it is seen, drawn, and where it belongs."""
    for _ in range(2):  # charts that are seen now may make the page higher still
        page.wait_for_timeout(500)
        whole = page.evaluate("Math.max(innerHeight, document.documentElement.scrollHeight)")
        page.set_viewport_size({"width": width, "height": whole})
    page.wait_for_timeout(300)


def shoot(
    browser: Browser, address: str, out: Path, *, names: list[str], width: int, theme: str
) -> int:
    """Take the pictures of one width and theme; return how much was wrong."""
    complaints: list[str] = []
    height = 900 if width > 500 else 844  # noqa: PLR2004 - a phone
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if theme == "dark" else "light",
        device_scale_factor=1,
    )
    page = context.new_page()
    if records.FROZEN:
        page.clock.set_fixed_time(records.NOW)

    def heard(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and "404" not in message.text:
            complaints.append(message.text)

    page.on("console", heard)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    for name in names:
        page.goto(address + PAGES[name])
        unfold(page, width)
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if wide > 0:
            complaints.append(f"{name} is {wide} px too wide at {width}")
        page.screenshot(path=out / f"{name}-{width}-{theme}.png")
        page.set_viewport_size({"width": width, "height": height})
    context.close()
    for complaint in dict.fromkeys(complaints):
        sys.stdout.write(f"{width} {theme}: {complaint}\n")
    return len(complaints)


def main() -> int:
    """Take all pictures that were asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("address", nargs="?", default="http://127.0.0.1:8123")
    parser.add_argument("--only", default="")
    parser.add_argument("--widths", default="1440,768,390")
    parser.add_argument("--themes", default="light,dark")
    wanted = parser.parse_args()
    wanted.out.mkdir(parents=True, exist_ok=True)
    names = [name for name in PAGES if wanted.only in name]
    wrong = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for width in map(int, wanted.widths.split(",")):
            for theme in wanted.themes.split(","):
                wrong += shoot(
                    browser, wanted.address, wanted.out, names=names, width=width, theme=theme
                )
        browser.close()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
