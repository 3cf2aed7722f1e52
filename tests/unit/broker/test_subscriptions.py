import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from broker.connection import Message
from broker.subscriptions import QUEUE_LIMIT, Subscription, Subscriptions
from tests.support.inbox import Inbox


@asynccontextmanager
async def running(*subscriptions: Subscription) -> AsyncIterator[Subscriptions]:
    every = Subscriptions()
    tasks = []
    for subscription in subscriptions:
        every.add(subscription)
        tasks.append(asyncio.create_task(subscription.run()))
    try:
        yield every
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_message_is_acknowledged_when_its_last_handler_has_returned() -> None:
    acknowledged = asyncio.Event()
    fast, gate = Inbox(), asyncio.Event()

    async def slow(_message: Message) -> None:
        await gate.wait()

    async with running(Subscription("a/b", 1, fast), Subscription("a/b", 1, slow)) as every:
        every.deliver(Message("a/b", b"1"), acknowledged.set)
        await fast.wait_for(1)
        assert not acknowledged.is_set()
        gate.set()
        async with asyncio.timeout(10):
            await acknowledged.wait()


async def test_what_nobody_wants_is_acknowledged() -> None:
    acknowledged: list[bool] = []
    async with running() as every:
        every.deliver(Message("a", b""), lambda: acknowledged.append(True))
    assert acknowledged == [True]


async def test_the_latest_of_qos_0_is_dropped_when_full_but_never_qos_1(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate, inbox = asyncio.Event(), Inbox()

    async def handler(message: Message) -> None:
        await gate.wait()
        await inbox(message)

    subscription = Subscription("a/+", 1, handler)
    async with running(subscription) as every:
        for n in range(QUEUE_LIMIT + 50):
            every.deliver(Message("a/b", b"%d" % n, qos=0), lambda: None)
        every.deliver(Message("a/b", b"kept", qos=1), lambda: None)
        gate.set()
        await inbox.wait_until(lambda: b"kept" in inbox.payloads)

    assert subscription.dropped == 50
    assert inbox.payloads == [b"%d" % n for n in range(QUEUE_LIMIT)] + [b"kept"]
    assert "live messages dropped" in caplog.text


async def test_a_closed_subscription_acknowledges_what_it_does_not_handle() -> None:
    acknowledged: list[bool] = []
    subscription = Subscription("a", 1, Inbox())
    every = Subscriptions()
    every.add(subscription)
    for _ in range(3):
        every.deliver(Message("a", b""), lambda: acknowledged.append(True))

    assert every.remove(subscription)
    await subscription.run()

    assert acknowledged == [True] * 3
    assert list(every) == []


def test_one_filter_of_several_handlers_is_subscribed_once_with_the_highest_qos() -> None:
    every = Subscriptions()
    first, second = Subscription("a", 0, Inbox()), Subscription("a", 1, Inbox())
    every.add(first)
    every.add(second)

    assert list(every) == [("a", 1)]
    assert not every.remove(second)
    assert list(every) == [("a", 0)]
    assert not every.remove(second)
    assert every.remove(first)
