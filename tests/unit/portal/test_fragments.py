"""Parts of pages that are kept: what they show is never older than what they show it of."""

from datetime import UTC, datetime
from itertools import count

import pytest
from markupsafe import Markup

from broker.messages import Alarm, ChannelInfo, Channels, NodeReport, Quantity
from portal.fragments import Fragments
from portal.known import NodeView
from portal.markup import value

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CHANNEL = ChannelInfo(
    name="od", kind="sensor", quantity=Quantity.OTHER, unit="g/L", label="OD", driver="d",
    period=1, precision=2,
)  # fmt: skip
CHANNELS = Channels(node="reactor-1", label="Reactor 1", channels=(CHANNEL,))


def node(
    reading: float | None, channels: Channels = CHANNELS, *alarms: Alarm, name: str = "reactor-1"
) -> NodeView:
    report = NodeReport(
        node=name, boot_id="01KB0000000000000000000000", at=NOW, seen_revision=1, accepts=True,
        isolation="docker", safe=True, alarms=alarms, backlog={},
    )  # fmt: skip
    return NodeView(
        id=name, label=channels.label, online=True, since=NOW, version="1", clock_offset=0.0,
        simulated=False, speed=1.0, channels=channels, report=report, withheld=None,
        readings={} if reading is None else {"od": reading},
    )  # fmt: skip


class Part:
    """A part of a page that counts how often it was made."""

    def __init__(self) -> None:
        self.fragments = Fragments()
        self.made = 0

    def of(self, shown: NodeView, variant: str = "card") -> str:
        def caller() -> Markup:
            self.made += 1
            assert shown.channels is not None
            text = Markup("<p>%s ") % ", ".join(shown.doubts)
            return text + Markup(" ").join(value(shown.id, c) for c in shown.channels.channels)

        return self.fragments.filled(shown, variant, caller=caller)


def test_a_reading_is_the_one_of_now_in_a_part_of_before() -> None:
    part = Part()
    assert ">0.13</span>" in part.of(node(0.126))
    assert ">7.00</span>" in part.of(node(7))
    assert ">\N{EN DASH}</span>" in part.of(node(None))
    assert part.made == 1


def test_a_part_is_made_anew_when_anything_else_in_it_changed() -> None:
    part = Part()
    alarm = Alarm(id="a", severity="warning", message="it drifts", channel="od", since=NOW)
    part.of(node(1))
    assert "<p>od " in part.of(node(1, CHANNELS, alarm))
    relabelled = CHANNELS.model_copy(
        update={"channels": (CHANNEL.model_copy(update={"precision": 0}),)}
    )
    assert ">1</span>" in part.of(node(1, relabelled))
    part.of(node(1, relabelled), "table")
    assert "reactor-2/od" in part.of(node(1, name="reactor-2"))
    assert part.made == 5
    for n in range(1000):  # reactors that come and go do not fill the memory
        part.of(node(1, name=f"reactor-{n}"))
    assert len(part.fragments._filled) <= 256


@pytest.mark.parametrize("hostile", ["[od|2]", "%s", "{0}", "\x00od\x00"])
def test_a_label_cannot_pass_for_a_reading(hostile: str) -> None:
    channel = CHANNEL.model_copy(update={"unit": hostile})
    shown = Part().of(node(1, CHANNELS.model_copy(update={"channels": (channel,)})))
    assert f'<span class="unit">{hostile}</span>' in shown
    assert shown.count("1.00") == 1


def test_a_row_is_kept_for_as_long_as_the_queue_is_the_same() -> None:
    fragments, queues = Fragments(), [object(), object()]
    numbers = count()

    def caller() -> Markup:
        return Markup("%d") % next(numbers)

    made = [
        fragments.kept(queues[at], "row", own, caller=caller)
        for at, own in [(0, True), (0, True), (0, False), (1, True), (0, True)]
    ]
    assert made == ["0", "0", "1", "2", "3"]
