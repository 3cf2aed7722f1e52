"""The page of an experiment: how soon a week of sixteen channels is there, and what it then holds.

The week is in a real hub's archive and comes through broker and portal to Chromium. Then a week of
readings and log lines is fed to a page that stays open, as fast as it takes them.
"""

import asyncio
import math
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from playwright.async_api import Browser, CDPSession, Page, async_playwright
from pydantic import JsonValue
from ulid import ULID

from bench._portal import running_portal
from broker.access import Principal
from broker.connection import Connection
from broker.embedded import EmbeddedBroker
from broker.journal.reception import Commit
from broker.messages import ChannelInfo, Channels, Experiment, Quantity, ServiceStatus, Status
from broker.topics import Topic
from hub_service.archive import Archive
from tests.support.hub import running_hub

ROLES = (
    Principal("hub", "hub"), Principal("portal", "portal"), Principal("reactor-1", "node"),
)  # fmt: skip
WEEK = 7 * 86_400
CHANNELS = 16
BATCH = 3600
OPENED = 7
NODE = "reactor-1"
T0 = datetime.now(UTC) - timedelta(days=8)
FINISHED, LIVE = "01JNE5X6T3M9Y2Q8R4V7W0ZEX1", "01JNE5X6T3M9Y2Q8R4V7W0ZEX2"
Row = tuple[str, float, str, float, str]

_WATCH = f"""() => {{
  const {{ port1, port2 }} = new MessageChannel();
  // a message that is posted before a frame is drawn arrives when it is
  port1.onmessage = () => {{ window.painted ??= performance.now(); }};
  const look = () => {{
    const panels = [...document.querySelectorAll('.panel')];
    const seen = panels.filter((panel) => panel.getBoundingClientRect().top < innerHeight);
    if (panels.length < {CHANNELS} || !seen.every((p) => p.querySelector('.uplot'))) return;
    watch.disconnect();
    port2.postMessage(null);
  }};
  const watch = new MutationObserver((changes) => {{
    const drawn = (node) => node instanceof Element && node.matches('.uplot');
    if (changes.some((change) => [...change.addedNodes].some(drawn))) requestAnimationFrame(look);
  }});
  watch.observe(document, {{ childList: true, subtree: true }});
}}"""
"""Notes when every chart that is in view was painted."""

_TAB_S = 0.5
"""Until a tab that was opened just now has come up: whoever visits a page has one."""

_FEED = Path(__file__).with_suffix(".js")


def rows() -> list[Row]:
    """Measure; a row is name, figure, unit, reference, name of the reference."""
    return asyncio.run(_measure())


async def _measure() -> list[Row]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        await _fill(folder / "hub" / "archive")
        broker = await stack.enter_async_context(EmbeddedBroker(folder / "broker", roles=ROLES))
        await stack.enter_async_context(running_hub(broker.settings_for("hub"), folder / "hub"))
        node = Connection(broker.settings_for(NODE), client_id="bench-node")
        await stack.enter_async_context(node)
        await node.wait_connected(10)
        await _announce(node)
        port, _ = await stack.enter_async_context(running_portal(broker, folder))
        playwright = await stack.enter_async_context(async_playwright())
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        stack.push_async_callback(browser.close)
        address = f"http://127.0.0.1:{port}"
        return [
            *await _history(address),
            *await _opened(browser, address),
            *await _held(browser, address),
        ]


def _entries(start: int) -> list[JsonValue]:
    def values(at: int) -> Iterator[tuple[str, float]]:
        return ((f"c{c}", math.sin(at / 900 + c) + c) for c in range(CHANNELS))

    return [
        {
            "kind": "sample",
            "t": (T0 + timedelta(seconds=at)).isoformat(),
            "experiment_id": FINISHED,
            "attempt": 1,
            "elapsed": float(at),
            "values": dict(values(at)),
        }
        for at in range(start, start + BATCH)
    ]


async def _fill(directory: Path) -> None:
    """Record a week, and one experiment that is over and one that is not yet."""
    archive = await asyncio.to_thread(Archive.open, directory)
    epoch = str(ULID())
    for start in range(0, WEEK, BATCH):
        await archive.commit(NODE, "records", Commit(epoch, 1, start + 1, _entries(start), None))
    await archive.finish(_experiment(FINISHED))
    # nothing of it is recorded: all that its page holds comes live
    await archive.finish(_experiment(LIVE))
    await asyncio.to_thread(archive.close)


def _experiment(experiment_id: str) -> Experiment:
    return Experiment(
        experiment_id=experiment_id,
        name="A week",
        user="mqtt:alice",
        owner="alice",
        status=Status.COMPLETED,
        revision=1,
        node=NODE,
        attempt=1,
        created_at=T0,
        started_at=T0,
        completed_at=T0 + timedelta(seconds=WEEK),
        script_sha256="0" * 64,
    )


async def _announce(node: Connection) -> None:
    channels = tuple(
        ChannelInfo(
            name=f"c{n}", kind="sensor", quantity=Quantity.OTHER, unit="1", label=f"Channel {n}",
            driver="bench", period=1.0,
        )
        for n in range(CHANNELS)
    )  # fmt: skip
    said = Channels(node=NODE, label="Reactor 1", channels=channels)
    topic = node.topics.build(Topic.NODE_CHANNELS, node=NODE)
    await node.publish(topic, said.encode(), retain=True)
    status = ServiceStatus(state="online", version="b", boot_id=str(ULID()), since=T0)
    topic = node.topics.build(Topic.NODE_STATUS, node=NODE)
    await node.publish(topic, status.encode(), retain=True)


async def _history(address: str) -> list[Row]:
    path = f"/api/experiments/{FINISHED}/history?points=800"
    times, size = [], 0
    async with httpx.AsyncClient(base_url=address, headers={"Accept-Encoding": "gzip"}) as client:
        for _ in range(OPENED):
            async with client.stream("GET", path) as answer:
                await answer.aread()
                size = answer.num_bytes_downloaded
            times.append(answer.elapsed.total_seconds())
    return [
        ("a week's curves over REST, p50", statistics.median(times) * 1e3, "ms", 500.0, "budget"),
        ("a week's curves, transferred", size / 1000, "kB", 250.0, "budget"),
    ]


async def _opened(browser: Browser, address: str) -> list[Row]:
    """Open the page as a new visitor, with nothing in the browser's cache, again and again."""
    times, busy, transferred = [], [], 0.0
    for _ in range(OPENED):
        context = await browser.new_context(viewport={"width": 1440, "height": 900})
        page = await context.new_page()
        session = await context.new_cdp_session(page)
        await session.send("Network.enable")
        await session.send("Performance.enable", {"timeDomain": "threadTicks"})
        sizes: list[float] = []
        session.on("Network.loadingFinished", lambda e, to=sizes: to.append(e["encodedDataLength"]))
        await page.add_init_script(f"({_WATCH})()")
        await asyncio.sleep(_TAB_S)
        await page.goto(f"{address}/experiment/{FINISHED}", wait_until="commit")
        painted = await page.wait_for_function("() => window.painted", polling=100)
        times.append(float(await painted.json_value()))
        transferred = sum(sizes)
        busy.append(1e3 * (await _metrics(session))["TaskDuration"])
        await context.close()
    return [
        ("a week of 16 channels opened, p50", statistics.median(times), "ms", 500.0, "budget"),
        (
            "a week of 16 channels, the page's own CPU, p50",
            statistics.median(busy),
            "ms",
            500.0,
            "budget",
        ),
        ("a week of 16 channels, all transferred", transferred / 1000, "kB", 250.0, "budget"),
    ]


async def _held(browser: Browser, address: str) -> list[Row]:
    """Keep a page open for a week of readings and lines; compare what it holds then."""
    context = await browser.new_context(viewport={"width": 1440, "height": 900})
    page = await context.new_page()
    await page.add_init_script(path=_FEED)

    async def running(route: object) -> None:
        """Let the page take the experiment for one that runs."""
        answer = await route.fetch()  # type: ignore[attr-defined]
        text = (await answer.text()).replace('data-status="completed"', 'data-status="running"')
        await route.fulfill(response=answer, body=text)  # type: ignore[attr-defined]

    await page.route(f"**/experiment/{LIVE}", running)
    await page.goto(f"{address}/experiment/{LIVE}")
    await page.wait_for_function("window.sockets.length > 0")
    day = 86_400
    await _feed(page, 0, 3 * day)
    early, nodes = await _size(page)
    await _feed(page, 3 * day, WEEK)
    late, more = await _size(page)
    began = time.perf_counter()
    await _feed(page, WEEK, WEEK + 6000)
    slow = (time.perf_counter() - began) / 10 * 1e3
    await context.close()
    return [
        ("heap of a page open for a week", late / 1e6, "MB", early / 1e6, "after three days"),
        ("elements of a page open for a week", more, "", nodes, "after three days"),
        ("600 readings and 120 lines taken and drawn, then", slow, "ms", 100.0, "a frame of /ws"),
    ]


async def _feed(page: Page, start: int, end: int) -> None:
    week = {
        "experiment": LIVE, "node": NODE, "channels": CHANNELS, "begun": T0.timestamp(),
        "from": start, "to": end,
    }  # fmt: skip
    await page.evaluate("week => feed(week)", week)


async def _size(page: Page) -> tuple[float, float]:
    session = await page.context.new_cdp_session(page)
    await session.send("HeapProfiler.enable")
    for _ in range(3):
        await session.send("HeapProfiler.collectGarbage")
    await session.send("Performance.enable")
    figures = await _metrics(session)
    await session.detach()
    return figures["JSHeapUsedSize"], figures["Nodes"]


async def _metrics(session: CDPSession) -> dict[str, float]:
    told = await session.send("Performance.getMetrics")
    return {metric["name"]: float(metric["value"]) for metric in told["metrics"]}


if __name__ == "__main__":
    for name, figure, unit, reference, of in rows():
        print(f"{name:50} {figure:9.2f} {unit:4} {reference:9.2f} {of}")
