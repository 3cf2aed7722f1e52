"""Log lines: what they are about, in both forms, and never a secret."""

import asyncio
import io
import json
import logging

import pytest
from pydantic import SecretStr

from broker.logs import Format, about, handler

SECRET = 'hun"ter2-and-more'


class Lines:
    """A logger and what it wrote."""

    def __init__(self, form: Format) -> None:
        self.stream = io.StringIO()
        self.log = logging.Logger("hub_service.test")  # noqa: LOG001  of this test alone
        self.log.addHandler(handler(form, [SecretStr(SECRET), None, SecretStr("ok")], self.stream))

    @property
    def text(self) -> str:
        return self.stream.getvalue()


@pytest.fixture
def as_json() -> Lines:
    return Lines("json")


@pytest.fixture
def human() -> Lines:
    return Lines("human")


def test_json_lines_say_what_they_are_about(as_json: Lines) -> None:
    with about(node="reactor-1"):
        with about(request_id="r-1", experiment_id=None):
            as_json.log.info("it is %s", "so")
        as_json.log.warning("after")
    as_json.log.error("alone")
    first, second, third = [json.loads(line) for line in as_json.text.splitlines()]
    assert first["message"] == "it is so"
    assert (first["level"], first["logger"]) == ("info", "hub_service.test")
    assert (first["node"], first["request_id"]) == ("reactor-1", "r-1")
    assert first["time"].endswith("+00:00")
    assert "experiment_id" not in first
    assert "request_id" not in second
    assert "node" not in third


async def test_tasks_carry_on_what_they_were_started_about(as_json: Lines) -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        as_json.log.info("within")

    with about(experiment_id="E1"):
        first = asyncio.create_task(work())
    with about(experiment_id="E2"):
        second = asyncio.create_task(work())
    await asyncio.gather(first, second)
    assert [json.loads(line)["experiment_id"] for line in as_json.text.splitlines()] == ["E1", "E2"]


def test_people_read_a_line_and_its_trace(human: Lines) -> None:
    with about(experiment_id="E1"):
        try:
            int("odd")
        except ValueError:
            human.log.exception("failed")
    first, *trace = human.text.splitlines()
    assert first.endswith("ERROR hub_service.test: failed [experiment_id=E1]")
    assert trace[-1] == "ValueError: invalid literal for int() with base 10: 'odd'"


@pytest.mark.parametrize("form", ["json", "human"])
def test_secrets_are_struck_out_wherever_they_stand(form: Format) -> None:
    lines = Lines(form)
    try:
        int(SECRET)
    except ValueError:
        lines.log.exception("password %s is ok", SECRET)
    assert "hun" not in lines.text
    assert "ter2-and-more" not in lines.text
    assert "***" in lines.text
    assert "ok" in lines.text  # so short a secret is a word
