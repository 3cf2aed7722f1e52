"""What the hub says of itself: figures and signs of life."""

from datetime import timedelta

from prometheus_client.parser import text_string_to_metric_families

from broker.messages import Posture, StreamBacklog
from hub_service.figures import Figures
from hub_service.pulse import PATIENCE, Pulse
from hub_service.queue.events import CancelAsked, NodeReported, PostureAsked
from tests.unit.hub_service.builders import Desk, report, ulid

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(text: str) -> Samples:
    return {
        (sample.name.removeprefix("bioreactor_hub_"), tuple(sorted(sample.labels.items()))):
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }  # fmt: skip


def test_figures_follow_the_queue() -> None:
    desk, figures = Desk().node(), Figures("1.0")
    figures.watch(desk.state)

    def watched() -> None:
        figures.watch(desk.state)

    desk.do(PostureAsked(Posture.PAUSED, "eve"))
    desk.submit(1, 2)
    watched()
    desk.do(PostureAsked(Posture.RUNNING, "eve"), seconds=99)
    watched()
    desk.do(CancelAsked(ulid(2), "ada"))
    watched()
    behind = {"records": StreamBacklog(entries=7, bytes=900, oldest=desk.now)}
    said = report(running=(ulid(1), 1)).model_copy(update={"backlog": behind})
    desk.do(NodeReported("reactor-1", said))
    figures.asked("submit", "done")
    figures.asked("submit", "USER_LIMIT")
    figures.store.observe(0.003)
    told = read(figures.take(desk.state, 3, desk.now + timedelta(seconds=4)).text)
    assert told["experiments", (("status", "running"),)] == 1
    assert told["experiments", (("status", "queued"),)] == 0
    assert told["nodes", (("state", "online"),)] == 1
    assert told["transitions_total", (("after", "queued"), ("before", "none"))] == 2
    assert told["transitions_total", (("after", "running"), ("before", "queued"))] == 1
    assert told["transitions_total", (("after", "cancelled"), ("before", "queued"))] == 1
    assert told["waiting_seconds_count", ()] == 1
    assert 99 <= told["waiting_seconds_sum", ()] <= 102
    where = (("node", "reactor-1"), ("stream", "records"))
    assert told["journal_lag_entries", where] == 7
    assert told["journal_lag_seconds", where] == 5
    assert told["requests_total", (("outcome", "USER_LIMIT"), ("verb", "submit"))] == 1
    assert told["store_seconds_count", ()] == 1
    assert told["notifications_waiting", ()] == 3
    assert told["resident_bytes", ()] > 1e6


def test_a_node_that_is_forgotten_leaves_the_figures() -> None:
    desk, figures = Desk().node(), Figures("1.0")
    assert "reactor-1" in figures.take(desk.state, 0, desk.now).text
    desk.state = type(desk.state)(desk.state.store_id, 1)
    assert "reactor-1" not in figures.take(desk.state, 0, desk.now).text


def test_the_part_that_gives_no_sign_of_life_is_named() -> None:
    now = [0.0]
    pulse = Pulse(lambda: now[0])
    now[0] = min(PATIENCE.values())
    assert pulse.stuck() is None
    now[0] += 1
    assert pulse.stuck() == "the store has made no progress for 31 s"
    pulse.beat("store")
    assert pulse.stuck() is None
    now[0] = 70
    for part in ("store", "archive"):
        pulse.beat(part)
    assert pulse.stuck() == "the broker has made no progress for 70 s"
