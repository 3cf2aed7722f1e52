"""No sequence of commands and readings, however odd, breaks a limit."""

import math
from dataclasses import dataclass, field
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.channels import Equipment
from hardware.events import (
    DoseAsked,
    DoseEnded,
    DosePiece,
    EstopEngaged,
    EstopReleased,
    Event,
    GoOn,
    Hold,
    MakeSafe,
    Measured,
    PieceEnded,
    Rest,
    RunBegun,
    Set,
    Tick,
)
from hardware.safety import State, decide, due, initial
from tests.unit.hardware.equipment import bench

EPSILON = 1e-6
NAMES = [*bench().channels, "nowhere"]
PUMPS = ["media", "base", "waste"]

odd = st.floats(allow_nan=True, allow_infinity=True)
values = st.one_of(st.floats(-10, 120), st.sampled_from([0.0, 15.0, 50.0, 1000.0]), odd)
durations = st.one_of(st.none(), st.floats(0.1, 150), odd)
volumes = st.one_of(st.floats(0.01, 6), odd)
readings = st.dictionaries(
    st.sampled_from(["temperature", "volume", "nowhere", "light"]),
    st.one_of(st.none(), st.floats(0, 60), odd),
)
pumps = st.sampled_from(PUMPS)
events = st.one_of(
    st.builds(Measured, readings),
    st.builds(Measured, st.fixed_dictionaries({"temperature": st.floats(20, 50)})),
    st.builds(Measured, st.fixed_dictionaries({"volume": st.floats(4, 19)})),
    st.builds(Set, st.sampled_from(NAMES), values, durations),
    st.builds(Set, st.just("light"), st.floats(0, 100), st.floats(1, 100)),
    st.builds(Set, st.just("heater"), values, st.just(15.0), st.just(True)),
    st.builds(DoseAsked, st.one_of(pumps, st.sampled_from(NAMES)), volumes),
    st.builds(DosePiece, st.one_of(pumps, st.sampled_from(NAMES)), volumes),
    st.builds(PieceEnded, pumps, volumes),
    st.builds(DoseEnded, pumps, st.none()),
    st.sampled_from(
        [Tick(), Hold(), Hold(pause=False), GoOn(), MakeSafe(), EstopReleased(), RunBegun()]
    ),
    st.sampled_from([Rest("direct"), Rest("all"), Rest(None)]),
    st.just(EstopEngaged("test")),
)
delays = st.one_of(
    st.floats(0, 3),
    st.floats(0, 100),
    st.floats(-5000, 5000),
    st.sampled_from([1.0, 9.0, 3480.0, 3540.0, 3600.0, math.nan, math.inf, -math.inf, 1e7]),
)
Step = tuple[float, Event]


@st.composite
def dosing(draw: st.DrawFn) -> list[Step]:
    """A reactor that doses: asks, pumps pieces, ends; perhaps two pumps at once."""
    pump, other = draw(pumps), draw(pumps)
    ml = draw(st.one_of(st.floats(0.5, 5), st.sampled_from([2.1, 2.4, 4.9])))
    pieces = [DosePiece(pump, draw(st.sampled_from([0.5, 1.0, 2.0]))) for _ in range(6)]
    pieces += [DosePiece(pump, ml), DosePiece(other, 1.0)]
    volume = draw(st.sampled_from([6.0, 6.0, 6.0, 14.0, 16.0]))
    steps: list[Event] = [Measured({"volume": volume}), DoseAsked(pump, ml)]
    if draw(st.booleans()):
        steps.append(DoseAsked(other, draw(st.floats(0.5, 5))))
    steps += [*pieces, DoseEnded(pump, None), DoseEnded(other, None)]
    pause = draw(delays)
    return [(pause if n == 0 else 0.5, event) for n, event in enumerate(steps)]


@st.composite
def heating(draw: st.DrawFn) -> list[Step]:
    """A control loop round a temperature that goes where it wants."""
    temperatures = draw(
        st.lists(st.one_of(st.none(), st.floats(38, 48), odd), min_size=1, max_size=8)
    )
    return [
        step
        for temperature in temperatures
        for step in (
            (draw(delays), Measured({"temperature": temperature})),
            (0.1, Set("heater", draw(values), 15.0, by_controller=True)),
        )
    ]


@st.composite
def lighting(draw: st.DrawFn) -> list[Step]:
    """A script that wants light for ever."""
    renewals = draw(st.lists(st.floats(1, 60), min_size=1, max_size=8))
    gap = draw(st.sampled_from([0.0, 5.0, 9.9, 10.0]))
    steps: list[Step] = []
    for pause in renewals:
        steps += [(pause, Set("light", 50.0, 90.0))]
        if gap:
            steps += [(pause, Set("light", 0.0)), (gap, Set("light", 50.0, 90.0))]
    return steps


@st.composite
def stirring(draw: st.DrawFn) -> list[Step]:
    """A script that changes its mind while the stirrer is on its way."""
    speeds = draw(
        st.lists(st.sampled_from([0.0, 50.0, 60.0, 300.0, 1000.0]), min_size=1, max_size=6)
    )
    return [
        step
        for speed in speeds
        for step in (
            (draw(st.floats(0, 3)), Set("stirring", speed)),
            (draw(st.floats(0, 1)), Tick()),
        )
    ]


anything = st.lists(st.tuples(delays, events), min_size=1, max_size=10)
stories = st.lists(
    st.one_of(anything, dosing(), heating(), lighting(), stirring()), max_size=12
).map(lambda parts: [step for part in parts for step in part])


@dataclass
class Watch:
    """Books kept beside the rules, from nothing but what was written and what was granted."""

    equipment: Equipment = field(default_factory=bench)
    temperature: tuple[float, float] | None = None
    hot: bool = False
    on: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    pumped: list[tuple[str, float, float]] = field(default_factory=list)
    run: int = 0
    runs: list[int] = field(default_factory=list)

    def check(self, before: State, event: Event, after: State, granted: bool) -> None:
        now = after.now
        if isinstance(event, Measured) and "temperature" in event.values:
            self._feel(event.values["temperature"], now)
        if isinstance(event, RunBegun):
            self.run += 1
        self._ranges(before, after)
        self._heater(after)
        self._on_time(before, after)
        if isinstance(event, DosePiece) and granted:
            self._piece(before, event, now)
        if isinstance(event, PieceEnded):
            self._give_back(before, event, after)
        self._rests(event, after, granted)
        if after.estop is not None:
            assert all(output.value == 0.0 for output in after.outputs.values())
        if isinstance(event, Set | DoseAsked) and not granted:
            assert {n: o.target for n, o in after.outputs.items() if o.target != 0.0}.items() <= {
                n: o.target for n, o in before.outputs.items()
            }.items()
            assert after.pumps == before.pumps

    def _feel(self, value: float | None, now: float) -> None:
        if value is None or not math.isfinite(value) or not -20 <= value <= 110:
            self.temperature = None
            return
        self.temperature = (value, now)
        self.hot = value >= 45 or (self.hot and value >= 42)

    def _ranges(self, before: State, after: State) -> None:
        for name, output in after.outputs.items():
            limits = self.equipment.channels[name].info.limits
            assert limits.minimum is not None
            assert limits.maximum is not None
            assert output.value == 0.0 or limits.minimum <= output.value <= limits.maximum
            if limits.slew_per_s is not None and output.value != 0.0:
                start = max(before.outputs[name].value, limits.minimum)
                allowed = limits.slew_per_s * (after.now - before.now)
                assert abs(output.value - start) <= allowed + EPSILON

    def _heater(self, after: State) -> None:
        if after.outputs["heater"].value > 0:
            assert self.temperature is not None
            assert after.now - self.temperature[1] <= 30
            assert not self.hot
            assert after.volume is None or after.volume >= 5

    def _on_time(self, before: State, after: State) -> None:
        spans = self.on.setdefault("light", [])
        if before.outputs["light"].value > 0:
            if spans and before.now - spans[-1][1] < 10:
                spans[-1] = (spans[-1][0], after.now)
            else:
                spans.append((before.now, after.now))
            assert spans[-1][1] - spans[-1][0] <= 100 + EPSILON

    def _give_back(self, before: State, event: PieceEnded, after: State) -> None:
        """What a pump did not deliver, for it had to rest, is granted again: once, and no more."""
        back = after.pumps[event.channel].left - before.pumps[event.channel].left
        assert back == 0.0 or (before.pumps[event.channel].rested and event.delivered >= 0.0)
        assert after.pumps[event.channel].left <= after.pumps[event.channel].pending + EPSILON
        if back:
            last = max(n for n, (name, _, _) in enumerate(self.pumped) if name == event.channel)
            name, at, ml = self.pumped[last]
            assert back <= ml + EPSILON
            self.pumped[last] = (name, at, ml - back)

    def _rests(self, event: Event, after: State, granted: bool) -> None:
        resting = {"all": {"heater", "stirring", "light"}, "direct": {"light"}, None: set[str]()}
        for name in resting[after.rests]:
            assert after.outputs[name].value == 0.0
        if after.rests is not None and isinstance(event, DoseAsked | DosePiece):
            assert not granted

    def _piece(self, before: State, event: DosePiece, now: float) -> None:
        channel = self.equipment.channels[event.channel]
        self.pumped.append((event.channel, now, event.ml))
        self.runs.append(self.run)
        mine = [
            (t, ml, run)
            for (name, t, ml), run in zip(self.pumped, self.runs, strict=True)
            if name == event.channel
        ]
        assert sum(ml for t, ml, _ in mine if now - t <= 3600) <= 12 + EPSILON
        assert sum(ml for _, ml, run in mine if run == self.run) <= 20 + EPSILON
        if channel.direction == "in":
            assert before.volume is not None
            assert before.volume + event.ml <= 18 + EPSILON


MOST_TICKS = 2000
"""Of one wait: some states tick each few seconds, and some waits would be months."""


@settings(max_examples=400, deadline=None)
@given(stories)
def test_no_sequence_breaks_a_limit(steps: list[Step]) -> None:
    equipment = bench()
    watch, state, now = Watch(equipment), initial(equipment, 0.0), 0.0

    def tell(event: Event, at: float) -> None:
        nonlocal state
        before = state
        decision = decide(equipment, state, event, at)
        state = decision.state
        watch.check(before, event, state, decision.refusal is None)

    for delay, event in steps:
        then, ticks = now + delay, 0
        while math.isfinite(then) and (tick := due(equipment, state)) < then:
            tell(Tick(), tick)
            ticks += 1
            if ticks == MOST_TICKS:
                then = tick
        tell(event, then)
        now = state.now


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 30.0, 59.0, 1000.0, 3480.0, 3599.0]), st.floats(0.5, 5)),
        min_size=1,
        max_size=40,
    )
)
def test_a_greedy_script_gets_the_whole_hour_but_no_more(
    wishes: list[tuple[float, float]],
) -> None:
    equipment = bench()
    state, now = initial(equipment, 0.0), 0.0
    moved: list[tuple[float, float]] = []
    for pause, ml in wishes:
        now += pause
        state = decide(equipment, state, RunBegun(), now).state
        state = decide(equipment, state, Measured({"volume": 6.0}), now).state
        asked = decide(equipment, state, DoseAsked("media", ml), now)
        state = asked.state
        if asked.refusal is not None:
            used = sum(volume for at, volume in moved if now - at < 3600 + 60)
            by_on_time = asked.refusal.details["limit"] == "max_on_time"
            assert by_on_time or used + ml > 12 - EPSILON
            continue
        state = decide(equipment, state, DosePiece("media", ml), now).state
        now += ml / 0.5
        state = decide(equipment, state, DoseEnded("media", ml), now).state
        moved.append((now, ml))
        assert sum(volume for at, volume in moved if now - at < 3600) <= 12 + EPSILON


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["setpoint", "stirring", "light"]), st.floats(50, 100))),
    st.sampled_from(["direct", "all"]),
    st.floats(0, 20),
)
def test_what_rested_goes_on_as_if_it_had_been_commanded_before(
    wishes: list[tuple[str, float]], scope: Literal["direct", "all"], seconds: float
) -> None:
    equipment = bench()
    rested = plain = initial(equipment, 0.0)
    for name, value in wishes:
        wish = Set(name, value, 90.0)
        rested, plain = (decide(equipment, state, wish, 1.0).state for state in (rested, plain))
    rested = decide(equipment, rested, Rest(scope), 2.0).state
    rested = decide(equipment, rested, Rest(None), 2.0 + seconds).state
    assert rested.rests is None
    for name, output in rested.outputs.items():
        assert (output.target, output.until) == (
            plain.outputs[name].target,
            plain.outputs[name].until,
        )
    for at in range(30, 60):  # a slewed one needs a while
        rested, plain = (
            decide(equipment, state, Tick(), float(at)).state for state in (rested, plain)
        )
    assert {n: o.value for n, o in rested.outputs.items()} == {
        n: o.value for n, o in plain.outputs.items()
    }
