"""The hold of a reactor by hand, without a broker."""

import asyncio
import time

from broker.messages import EventRecord, Record
from hardware.clock import RealClock
from hardware.reactors import simulated_reactor
from node_service.alarms import Alarms
from node_service.manual import Hands
from tests.support.waiting import eventually


async def test_a_command_in_the_instant_in_which_the_hold_runs_out_goes_on_with_it() -> None:
    """Otherwise what it sets would stay on, and nobody would hold the reactor."""
    clock = RealClock()
    records: list[Record] = []
    async with simulated_reactor(clock, seed=1, state_file=None) as reactor:
        hands = Hands(
            reactor=reactor,
            clock=clock,
            alarms=Alarms(clock, records.append),
            record=records.append,
            seconds=0.5,
            changed=lambda: None,
        )
        running = asyncio.create_task(hands.run())
        hands.take("ada")
        asyncio.get_running_loop().call_later(0.5, hands.take, "ben")
        await asyncio.sleep(0)
        time.sleep(0.51)  # noqa: ASYNC251  both are due when the loop goes on
        await asyncio.sleep(0.05)
        assert hands.current is not None
        assert hands.current.by == "ben"
        await eventually(lambda: hands.current is None)
        ended = [r for r in records if isinstance(r, EventRecord) and r.event == "manual-ended"]
        assert [r.data["by"] for r in ended] == ["ben"]
        running.cancel()
