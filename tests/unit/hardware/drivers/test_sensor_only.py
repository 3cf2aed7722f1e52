import pytest

from hardware.drivers.interface import DriverError
from hardware.drivers.sensor_only import SensorOnly


class Probe(SensorOnly):
    name = "probe"


async def test_what_only_measures_refuses_the_rest_in_a_sentence() -> None:
    probe = Probe()
    with pytest.raises(DriverError, match=r"^probe only measures: light cannot be set to 5$"):
        await probe.write("light", 5.0)
    with pytest.raises(DriverError, match=r"^probe only measures: media cannot dose 1 mL$"):
        await probe.dose("media", 1.0)
    with pytest.raises(DriverError, match=r"^probe only measures: there is no pump media$"):
        await probe.stop("media")
    await probe.begin_run()
    assert probe.rescue is None
