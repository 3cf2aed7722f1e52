"""Which reactor the settings name."""

from dataclasses import dataclass

from hardware.clock import RealClock
from hardware.configuration.document import ConfigurationError
from hardware.reactor import Reactor
from hardware.reactors import configured_reactor, replayed_reactor, simulated_reactor
from hardware.replay.recording import RecordingError
from node_service.datadir import DataDir
from node_service.settings import NodeSettings


class ReactorError(Exception):
    """The reactor of the settings cannot be had; one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The reactor of a node.

    Attributes:
        reactor: Not entered yet.
        label: What people call it.
        simulated: Whether no real reactor stands behind it.
    """

    reactor: Reactor
    label: str
    simulated: bool


def choose_reactor(settings: NodeSettings, directory: DataDir) -> Chosen:
    """Return the reactor that the settings name.

    Raises:
        ReactorError: It cannot be had.
    """
    label = settings.label or settings.id
    match settings.reactor:
        case "replay":
            if settings.recording is None:
                raise ReactorError('reactor = "replay" needs recording = "FILE.csv" beside it')
            try:
                reactor = replayed_reactor(RealClock(settings.speed), settings.recording)
            except RecordingError as error:
                raise ReactorError(f"the recording cannot be replayed: {error}") from error
            return Chosen(reactor, label, simulated=True)
        case "configured":
            if settings.configuration is None:
                raise ReactorError(
                    'reactor = "configured" needs configuration = "reactor.toml" beside it'
                )
            try:
                reactor, named = configured_reactor(
                    RealClock(), settings.configuration, directory=directory.devices
                )
            except ConfigurationError as error:
                raise ReactorError(str(error)) from error
            return Chosen(reactor, settings.label or named or settings.id, simulated=False)
        case "simulated":
            reactor = simulated_reactor(
                RealClock(settings.speed),
                seed=settings.seed,
                state_file=directory.culture,
                organism=settings.organism,
            )
            return Chosen(reactor, label, simulated=True)
