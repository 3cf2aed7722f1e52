"""Chromium for the portal's measurements: what a page weighs, and when a reading is painted."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from playwright.async_api import Browser, Page, async_playwright

_WATCH: Final = """selector => {
    const element = document.querySelector(selector);
    window.painted = {};
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = ({ data }) => {
        window.painted[data] ??= performance.timeOrigin + performance.now();
    };
    // a message that is posted before a frame is drawn arrives when it is
    new MutationObserver(() => {
        const text = element.textContent;
        requestAnimationFrame(() => port2.postMessage(text));
    }).observe(element, { childList: true, characterData: true, subtree: true });
}"""


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Run the browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield browser
        await browser.close()


async def weight(browser: Browser, address: str) -> int:
    """Return the bytes that a first visit transfers, with headers, scripts, style and fonts."""
    context = await browser.new_context()
    page = await context.new_page()
    session = await context.new_cdp_session(page)
    total = 0

    def count(event: dict[str, Any]) -> None:
        nonlocal total
        total += round(event["encodedDataLength"])

    session.on("Network.loadingFinished", count)
    await session.send("Network.enable")
    await page.goto(address, wait_until="networkidle")
    await context.close()
    return total


async def painted(
    page: Page, selector: str, send: Callable[[float], Awaitable[None]], readings: int
) -> list[float]:
    """Send readings one after another and return the seconds until each was on the screen.

    Args:
        page: Shows the value.
        selector: Of the element.
        send: Publishes a value that is written with three decimals.
        readings: How many.
    """
    await page.evaluate(_WATCH, selector)
    sent: dict[str, float] = {}
    for n in range(readings):
        value = 100.0 + n
        sent[f"{value:.3f}"] = time.time()
        await send(value)
        await asyncio.sleep(0.25)  # a first change, after quiet
    seen: dict[str, float] = await page.evaluate("window.painted")
    return [seen[text] / 1e3 - began for text, began in sent.items() if text in seen]
