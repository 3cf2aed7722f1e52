"""What a server of requests must remember over its own death: little, and seldom written.

A request that the broker repeats may be the one that ended the process the last time; after too
many tries it is refused, lest it end every next life too. And who removes a retained request is
sent the empty message that removes it, which must not be taken for a request without fields. That
echo may come late: where the link was lost first, the broker keeps it for the next connection,
perhaps of the next process. So it is awaited for as long as it takes.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from broker.identity import write_private
from broker.session import Message

log = logging.getLogger(__name__)

FILE: Final = "doorbook.json"
"""Its usual name, in the directory of whoever serves."""
MAX_TRIES: Final = 20
"""How often a repeated request is begun. Lives may end for other reasons, some of them in a row."""
MAX_NOTED: Final = 1000
"""Of how many repeated requests, and of how many topics, something is remembered."""
MAX_ECHOES: Final = 10
"""Of one topic. Where a removal is lost with its link, the next one makes one echo too many."""


class Doorbook:
    """Remembers echoes and tries.

    Args:
        path: Where; None: in memory alone. A damaged file is as none.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._writing = asyncio.Lock()
        self._echoes, self._tries = _read(path)

    async def expect_echo(self, topic: str) -> None:
        """Expect one more empty message on a topic, whenever it comes; durable when it returns."""
        self._echoes[topic] = min(self._echoes.pop(topic, 0) + 1, MAX_ECHOES)
        for oldest in list(self._echoes)[:-MAX_NOTED]:
            del self._echoes[oldest]
        await self._write()

    async def is_echo(self, message: Message) -> bool:
        """Whether this is an empty message that was expected; noted durably when it returns.

        After the last one, only what the broker repeats is: it missed our acknowledgement.
        """
        if message.payload or message.topic not in self._echoes:
            return False
        left = self._echoes[message.topic]
        if left <= 0:
            return message.repeated
        self._echoes[message.topic] = left - 1
        await self._write()
        return True

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
            text = json.dumps({"echoes": self._echoes, "tries": self._tries})
            try:
                await asyncio.to_thread(write_private, self._path, text)
            except OSError as error:
                log.error("%s is not written: %s", self._path, error)  # noqa: TRY400  a full disk needs no trace


def _key(message: Message) -> str:
    return hashlib.sha256(message.topic.encode() + b"\0" + message.payload).hexdigest()


def _read(path: Path | None) -> tuple[dict[str, int], dict[str, int]]:
    try:
        told = json.loads("{}" if path is None else path.read_text(encoding="utf-8"))
        echoes = told.get("echoes", {})
        if isinstance(echoes, list):  # an earlier form: the topics alone
            echoes = dict.fromkeys(echoes, 1)
        return _counts(echoes), _counts(told.get("tries", {}))
    except FileNotFoundError:
        return {}, {}
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        log.warning("%s is damaged and begun anew: %s", path, error)
        return {}, {}


def _counts(told: Mapping[object, int]) -> dict[str, int]:
    return {str(key): int(count) for key, count in told.items()}
