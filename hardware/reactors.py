"""The reactors there are: simulated, replayed, or described by a `reactor.toml`."""

from pathlib import Path

from hardware.clock import Clock
from hardware.configuration.build import Readings, configure
from hardware.reactor import Reactor
from hardware.replay.driver import replay
from hardware.simulation.equipment import EQUIPMENT
from hardware.simulation.organism import PRESETS
from hardware.simulation.vial import SimulatedVial
from hardware.workbench import Workbench


def simulated_reactor(
    clock: Clock, *, seed: int, state_file: Path | None, organism: str = "e-coli"
) -> Reactor:
    """Return a reactor whose vial is simulated; see `hardware/README.md` for what is in it.

    Args:
        clock: Its seconds are those of the culture.
        seed: The same seed gives the same noise and the same pumps.
        state_file: Where the culture is kept, so that it survives a restart of the node, during
            which it goes on; what the pumps have moved is kept beside it, in ``doses.json``. None:
            a fresh vial each time.
        organism: What grows in it, a name in `hardware.simulation.organism.PRESETS`.
    """
    vial = SimulatedVial(clock, seed=seed, state_file=state_file, preset=PRESETS[organism])
    doses_file = None if state_file is None else state_file.with_name("doses.json")
    return Reactor(EQUIPMENT, [vial], clock, doses_file=doses_file)


def replayed_reactor(clock: Clock, recording: Path) -> Reactor:
    """Return a reactor whose sensors show a recorded run again, from its start for each run.

    Args:
        clock: Its seconds are those of the recording.
        recording: A CSV file, see `hardware.replay.recording`.

    Raises:
        RecordingError: The file is no recorded run.
    """
    equipment, driver = replay(clock, recording)
    return Reactor(equipment, [driver], clock)


def configured_reactor(clock: Clock, path: Path, *, directory: Path) -> tuple[Reactor, str | None]:
    """Return the reactor that a `reactor.toml` describes, and its label.

    Args:
        clock: Whose seconds count.
        path: The file.
        directory: Where drivers and doses keep what must survive a restart.

    Raises:
        ConfigurationError: What is wrong with the file, and where.
    """
    readings = Readings()
    configured = configure(path, clock=clock, directory=directory, readings=readings)
    workbench = Workbench(directory, configured.bare)
    reactor = Reactor(
        configured.equipment,
        configured.drivers,
        clock,
        doses_file=directory / "doses.json",
        workbench=workbench,
    )
    readings.come_from(reactor.latest)
    return reactor, configured.label
