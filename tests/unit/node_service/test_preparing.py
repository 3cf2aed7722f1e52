"""What stands between acceptance and container is waited for, not failed."""

import errno
import os
from types import SimpleNamespace
from typing import cast

import pytest

from broker.messages import Assignment
from node_service import preparing
from node_service.preparing import prepare
from node_service.reconcile import cancelled
from node_service.supervision import Orders
from node_service.workplace import Station
from tests.unit.node_service.conftest import KEY

RUN = Assignment(
    revision=1,
    store_id=KEY.experiment_id,
    generation=1,
    desired="run",
    experiment_id=KEY.experiment_id,
    attempt=1,
    script="",
)


async def test_a_full_disk_is_waited_for_until_the_run_is_called_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries: list[str] = []
    said: list[str] = []
    orders = Orders(RUN)

    async def full(_paths: object, script: str) -> None:
        tries.append(script)
        if len(tries) == 3:
            orders.stop(cancelled(None))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def progress(line: str) -> None:
        said.append(line)

    monkeypatch.setattr(preparing, "lay_out", full)
    monkeypatch.setattr(preparing, "RETRY_SECONDS", 0.001)
    station = cast("Station", SimpleNamespace(paths=lambda _: None))
    ending = await prepare(station, KEY, RUN, orders, progress)
    assert ending == cancelled(None)
    assert len(tries) == 3
    assert len(said) == 1
    assert "No space left on device" in said[0]
