"""Which reactor the settings name."""

from hardware.clock import RealClock
from hardware.reactor import Reactor, replayed_reactor, simulated_reactor
from hardware.replay.recording import RecordingError
from node_service.datadir import DataDir
from node_service.settings import NodeSettings


class ReactorError(Exception):
    """The reactor of the settings cannot be had; one sentence that says what to do."""


def open_reactor(settings: NodeSettings, directory: DataDir) -> Reactor:
    """Return the reactor that the settings name; not entered yet.

    Raises:
        ReactorError: It cannot be had.
    """
    clock = RealClock(settings.speed)
    if settings.reactor == "replay":
        if settings.recording is None:
            raise ReactorError('reactor = "replay" needs recording = "FILE.csv" beside it')
        try:
            return replayed_reactor(clock, settings.recording)
        except RecordingError as error:
            raise ReactorError(f"the recording cannot be replayed: {error}") from error
    return simulated_reactor(
        clock, seed=settings.seed, state_file=directory.culture, organism=settings.organism
    )
