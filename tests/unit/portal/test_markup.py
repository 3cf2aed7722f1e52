"""The small pieces of pages."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from jinja2 import Environment, FileSystemLoader

from broker.messages import ChannelInfo, ParameterInfo, Quantity, Queue
from portal.markup import (
    moment,
    number,
    pieces,
    queue_standing,
    sentence,
    short,
    size,
    span,
    spark,
    value,
)
from portal.parameters import delivery
from portal.rendering import TEMPLATES

CHANNEL = ChannelInfo(
    name="od",
    kind="sensor",
    quantity=Quantity.OTHER,
    unit="<b>",
    label='"><script>',
    driver="d",
    period=1,
    precision=2,
)


def test_a_form_takes_the_very_limits_of_a_parameter() -> None:
    """Six digits are enough to read, and would refuse what the script allows."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)
    environment.globals.update(pieces("/static/{}".format))
    run = SimpleNamespace(
        experiment_id="x", node="r", status="running", phase="executing", parameters={}, attempt=1
    )
    declared = [ParameterInfo(name="cells", default=1234564, minimum=0.12345678, maximum=1234564)]
    page = environment.get_template("_parameters.html").render(
        e=run,
        declared=declared,
        may_change=True,
        milestones=(),
        session=None,
        nodes=(),
        delivery=delivery((), 1),
    )
    assert 'min="0.12345678"' in page
    assert re.search('max="1234564(.0)?"', page)


def test_what_a_node_says_of_itself_is_shown_harmlessly() -> None:
    shown = value("reactor-1", CHANNEL)
    assert 'data-value="reactor-1/od" data-precision="2">' in shown
    assert "&lt;b&gt;" in shown
    assert "<script>" not in spark("reactor-1", CHANNEL)
    assert "<i>" not in moment(datetime(2026, 1, 1, tzinfo=UTC), "<i>")
    assert "<i>" not in pieces("/static/{}".format)["piece_icon"]("<i>")


def test_a_page_tells_queues_apart_as_its_script_does() -> None:
    """Also two of one revision: a reactor that goes away changes why something waits."""
    cases = json.loads(Path(__file__).with_name("queue_cases.json").read_text(encoding="utf-8"))
    standing_of = pieces("/static/{}".format)["queue_standing"]
    for case in cases:
        queue = Queue.model_validate(case["queue"])
        assert queue_standing(queue) == case["standing"]
        assert standing_of(queue) == standing_of(queue) == case["standing"]
    assert standing_of(None) == ""


def test_a_unit_that_says_nothing_is_left_out() -> None:
    for unit in ("", "1", CHANNEL.label):
        assert "unit" not in value("a", CHANNEL.model_copy(update={"unit": unit}))


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("it is hot", "It is hot."),
        ("pH is low!", "pH is low!"),
        ("", ""),
        (" x ", "X."),
    ],
)
def test_sentences(told: str, shown: str) -> None:
    assert sentence(told) == shown


def test_numbers() -> None:
    assert [number(None), number(1.23456), number(2, 0)] == ["\N{EN DASH}", "1.235", "2"]
    assert [short(0.5), short(1500.0), short(None)] == ["0.5", "1500", "\N{EN DASH}"]
    assert [span(59), span(3661), span(3 * 86400 + 7200)] == ["0:00 h", "1:01 h", "3 d 2 h"]
    assert [size(12), size(2048), size(3 * 1024**2), size(1024**3)] == [
        "12 B", "2.0 kB", "3.0 MB", "1.00 GB",
    ]  # fmt: skip
    assert moment(None) == ""
