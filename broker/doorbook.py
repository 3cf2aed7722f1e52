"""What a server of requests must remember over its own death: little, and seldom written.

A request that the broker repeats may be the one that ended the process the last time; after too
many tries it is refused, lest it end every next life too. And who removes a retained request is
sent the empty message that removes it, which must not be taken for a request without fields.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from broker.identity import write_private
from broker.messages import utc_now
from broker.session import Message

log = logging.getLogger(__name__)

MAX_TRIES: Final = 20
"""How often a repeated request is begun. Lives may end for other reasons, some of them in a row."""
MAX_NOTED: Final = 1000
_ECHO_WITHIN: Final = timedelta(seconds=10)
_ECHO_AFTER_START: Final = timedelta(seconds=60)


class Doorbook:
    """Remembers echoes and tries.

    Args:
        path: Where; None: in memory alone. A damaged file is as none.
        clock: The wall clock, in UTC.
    """

    def __init__(
        self, path: Path | None = None, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._path = path
        self._clock = clock
        self._writing = asyncio.Lock()
        echoes, self._tries = _read(path)
        until = clock() + _ECHO_AFTER_START
        self._echoes = dict.fromkeys(echoes, until)

    async def expect_echo(self, topic: str) -> None:
        """Expect one empty message on a topic soon; durable when it returns."""
        now = self._clock()
        self._echoes = {other: until for other, until in self._echoes.items() if until > now}
        self._echoes[topic] = now + _ECHO_WITHIN
        await self._write()

    def is_echo(self, message: Message) -> bool:
        """Whether this is an empty message that was expected; the next one is not."""
        if message.payload:
            return False
        until = self._echoes.pop(message.topic, None)
        return until is not None and self._clock() < until

    async def begin(self, message: Message) -> bool:
        """Note, durably, that a message is tried; False if it was too often already."""
        if not message.repeated:
            return True
        key = _key(message)
        tries = self._tries.pop(key, 0)
        if tries >= MAX_TRIES:
            await self._write()
            return False
        self._tries[key] = tries + 1
        for oldest in list(self._tries)[:-MAX_NOTED]:
            del self._tries[oldest]
        await self._write()
        return True

    def end(self, message: Message) -> None:
        """Note that a message was survived; on the disk with what is noted next."""
        if message.repeated:
            self._tries.pop(_key(message), None)

    async def _write(self) -> None:
        if self._path is None:
            return
        async with self._writing:
            text = json.dumps({"echoes": [*self._echoes], "tries": self._tries})
            try:
                await asyncio.to_thread(write_private, self._path, text)
            except OSError as error:
                log.error("%s is not written: %s", self._path, error)  # noqa: TRY400  a full disk needs no trace


def _key(message: Message) -> str:
    return hashlib.sha256(message.topic.encode() + b"\0" + message.payload).hexdigest()


def _read(path: Path | None) -> tuple[list[str], dict[str, int]]:
    try:
        told = json.loads("{}" if path is None else path.read_text(encoding="utf-8"))
        echoes = [str(topic) for topic in told.get("echoes", ())]
        return echoes, {str(key): int(tries) for key, tries in told.get("tries", {}).items()}
    except FileNotFoundError:
        return [], {}
    except (ValueError, AttributeError, TypeError) as error:
        log.warning("%s is damaged and begun anew: %s", path, error)
        return [], {}
