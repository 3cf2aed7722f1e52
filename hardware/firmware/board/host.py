"""Whether somebody is in control: armed by a greeting, kept by beats, lost in silence."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hardware.firmware.pins import Ticks

UNARMED = "unarmed"
LIVE = "live"
LOST = "lost"


class Host:
    """The host, as the board sees it."""

    def __init__(self, ticks: "Ticks", timeout: int) -> None:
        self._ticks = ticks
        self._fed = ticks.ticks_ms()
        self.timeout = timeout
        self.state = UNARMED

    def greet(self, timeout: int) -> None:
        """Take a host on."""
        self.timeout = timeout
        self.state = LIVE
        self.feed()

    def feed(self) -> None:
        """Begin the timeout anew."""
        self._fed = self._ticks.ticks_ms()

    def check(self) -> bool:
        """Whether the host was lost just now."""
        silent = self._ticks.ticks_diff(self._ticks.ticks_ms(), self._fed)
        # A clock that wrapped around says a negative time: no host was ever silent for so long.
        if self.state != LIVE or 0 <= silent < self.timeout:
            return False
        self.state = LOST
        return True
