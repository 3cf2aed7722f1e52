"""What is done about devices that fail and sensors that lie, as `reactor.toml` wants it.

A device that owes an answer lets the others rest until it answers (`hardware.hiccups`); commands
wait for that. It is lost when its cable is out, or when two readings in a row fail: one garbled
answer ends no experiment. What is done then depends on its policy; the others go safe at once where
that is ``stop``, without waiting for the lost one, and whatever comes back stays as it is until
commanded.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Final, NoReturn

from broker.messages import ContractError, ErrorCode
from hardware.announcements import Announcements
from hardware.devices import Devices
from hardware.events import Event, Hold, MakeSafe, Scope
from hardware.hiccups import Hiccups, follow
from hardware.polling import LOOK, Polled

_PATIENCE: Final = 15.0
"""Real seconds that a command waits for a silent device; to lose one takes less."""

log = logging.getLogger(__name__)


class Guard:
    """Of one reactor.

    Args:
        devices: They say what is wrong with them.
        announcements: People are told.
        stop_all: Brings outputs and pumps to rest for good, and announces that.
        rest: Lets outputs and pumps rest for as long as they must.
        look: Takes in what one device reads now.
        begin: Begins what is not waited for; does nothing while the reactor is not open.
    """

    def __init__(
        self,
        devices: Devices,
        announcements: Announcements,
        *,
        stop_all: Callable[[Event, str], Awaitable[None]],
        rest: Callable[[Scope | None], None],
        look: Callable[[Polled], Awaitable[None]],
        begin: Callable[[Coroutine[None, None, None], str], None],
    ) -> None:
        self._devices = devices
        self._announcements = announcements
        self._stop_all = stop_all
        self._let_rest = rest
        self._look = look
        self._begin = begin
        self._lost: frozenset[str] = frozenset()
        self._stopping: frozenset[str] = frozenset()
        self._holding: tuple[str, ...] = ()
        self._broken: tuple[str, ...] = ()
        self._lying: tuple[str, ...] = ()
        self._hiccups: dict[str, Hiccups] = {}
        self._silent: frozenset[str] = frozenset()
        self._scope: Scope | None = None
        self._later: asyncio.TimerHandle | None = None
        self._interruptions = 0
        self._news = asyncio.Event()

    @property
    def holds(self) -> bool:
        """Whether pumps and direct outputs are refused, or rest."""
        return bool(self._holding) or self._scope is not None

    @property
    def given_up(self) -> frozenset[str]:
        """Devices that are lost, and without which no run begins."""
        return self._stopping

    @property
    def unfit(self) -> str | None:
        """Why no run should begin: it would be ended at once; None: it may."""
        return next(iter(self._broken + self._lying), None)

    def heed(self) -> None:
        """Tell what the devices say of themselves, and act when it is new."""
        faults, doubts = self._devices.faults, self._devices.doubts
        self._announcements.doubts(doubts)
        held = bool(self._holding)
        lost = {n: f for n, f in faults.items() if f.lost and f.policy != "continue"}
        self._stopping = frozenset(n for n, f in lost.items() if f.policy == "stop")
        self._broken = tuple(f"{n}: {f.message}" for n, f in lost.items() if n in self._stopping)
        self._lying = tuple(d.why for d in doubts.values() if d.rule.policy == "stop")
        self._holding = (
            *(f"{n}: {f.message}" for n, f in lost.items()),
            *(d.why for d in doubts.values() if d.rule.policy != "continue"),
        )
        new = lost.keys() - self._lost
        self._lost = frozenset(lost)
        self._listen()
        if new & self._stopping:
            self._begin(self._stop(MakeSafe(), "safe"), "reactor-make-safe")
        elif self._holding and not held:
            # No pause: that is for people to begin and to end.
            self._begin(self._stop(Hold(pause=False), "hold"), "reactor-hold")
        for name in sorted(new):
            self._announcements.fault(name, lost[name])

    async def admit(self) -> None:
        """Return when a dose or a direct output is allowed: at once, if no device is silent.

        Who waits when everything is stopped returns, too: the rules know what was stopped.

        Raises:
            ContractError: INTERLOCK: it is not.
        """
        self.check()
        interruptions = self._interruptions
        try:
            async with asyncio.timeout(_PATIENCE):
                while self._scope is not None and interruptions == self._interruptions:
                    self._news.clear()
                    await self._news.wait()
                    self.check()
        except TimeoutError:
            raise ContractError(
                ErrorCode.INTERLOCK,
                "; ".join(f"{name}: {self._sentence(name)}" for name in sorted(self._silent)),
                "look at the device, its power and its cable",
                limit="silence",
            ) from None

    def interrupt(self) -> None:
        """Let nobody wait any more: everything is stopped."""
        self._interruptions += 1
        self._news.set()

    def check(self, *, setpoint: bool = False) -> None:
        """Return if a command is allowed. Setpoints are, unless everything was made safe.

        Raises:
            ContractError: INTERLOCK.
        """
        why = next(iter(self._broken if setpoint else self._holding), None)
        if why is not None:
            raise ContractError(
                ErrorCode.INTERLOCK,
                why,
                "commands wait until the device answers, or the sensor can be believed, again",
                limit="fault" if self._lost else "doubt",
            )

    def watches(self) -> Iterator[Coroutine[None, None, NoReturn]]:
        """Return what looks after the devices that must not be lost, each for itself."""
        for polled in self._devices.watched:
            yield self._watch(polled)
            yield self._hear(polled)

    def close(self) -> None:
        """Plan nothing any more."""
        if self._later is not None:
            self._later.cancel()

    async def _watch(self, polled: Polled) -> NoReturn:
        while True:
            if polled.lost:
                await asyncio.sleep(LOOK)
            elif polled.fault is None:
                await polled.trouble()
            if polled.wanted:
                await self._look(polled)

    async def _hear(self, polled: Polled) -> NoReturn:
        while True:
            await polled.hearing.turned(silent=not polled.hearing.silent)
            self._listen()

    def _listen(self) -> None:
        """Let rest what must not go on while a device is silent, and go on when it is not."""
        now = asyncio.get_running_loop().time()
        resting: dict[str, Polled] = {}
        for polled in self._devices.guarded:
            name = polled.driver.name
            before = self._hiccups.get(name, Hiccups())
            self._hiccups[name] = after = follow(before, now, silent=polled.silent)
            if after.rests(now):
                resting[name] = polled
        self._plan(now, resting)
        policies = {polled.policy for polled in resting.values()}
        scope: Scope | None = "all" if "stop" in policies else "direct" if policies else None
        if scope != self._scope:
            self._scope = scope
            self._let_rest(scope)
        silent = frozenset(resting)
        told, self._silent = self._silent - self._lost, silent
        for name in sorted(silent - told - self._lost):
            self._announcements.silence(name, self._hiccups[name].count)
        for name in sorted(told - silent):
            self._announcements.answers(name)
        faults = {name: fault.message for name, fault in self._devices.faults.items()}
        often = {name: self._sentence(name) for name in silent if self._hiccups[name].count > 1}
        self._announcements.devices(often | faults)
        self._news.set()

    def _plan(self, now: float, resting: Mapping[str, Polled]) -> None:
        """Listen again when a device that answers has done so for long enough."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        ends = [self._hiccups[n].until for n, polled in resting.items() if not polled.silent]
        if ends:
            loop = asyncio.get_running_loop()
            self._later = loop.call_later(max(0.0, min(ends) - now), self._listen)

    def _sentence(self, name: str) -> str:
        count = self._hiccups[name].count
        if count < 2:  # noqa: PLR2004
            return "it does not answer"
        return f"it fell silent {count} times within a minute: look at its power and its cable"

    async def _stop(self, event: Event, name: str) -> None:
        try:
            await self._stop_all(event, name)
        except ExceptionGroup as group:
            log.warning("not everything is known to stand still: %s", group.exceptions[0])
