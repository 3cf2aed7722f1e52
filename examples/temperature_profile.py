# /// script
# dependencies = ["numpy"]
# [tool.bioreactor]
# name = "Temperature profile"
# max_duration = "3 d"
# needs = ["od", "temperature", "temperature-setpoint", "stirring"]
# [tool.bioreactor.parameters]
# coolest = {default = 28, unit = "°C", min = 20, max = 42, description = "first temperature"}
# hottest = {default = 37, unit = "°C", min = 20, max = 42, description = "last temperature"}
# steps = {default = 4, min = 2, max = 10, description = "how many temperatures"}
# hours = {default = 8, unit = "h", min = 0.1, max = 72, description = "for all of them"}
# ///
"""Temperature profile: how fast does the culture grow at which temperature?

The temperature goes up in equal steps. At each, once it has settled, the growth rate is read off
the density.
"""

import numpy as np

from bioreactor import experiment, reactor

wanted = experiment.parameters
temperatures = np.linspace(wanted["coolest"], wanted["hottest"], wanted["steps"])
seconds = wanted["hours"] * 3600 / wanted["steps"]
profile = []


def hold(target: float) -> None:
    """Have the thermostat hold this temperature from now on."""
    try:
        reactor.set("temperature-setpoint", target)
    except reactor.OutputsReset:  # the node restarted, told once: nothing of ours was off
        reactor.set("temperature-setpoint", target)


reactor.set("stirring", 700)
for target in temperatures:
    hold(target)
    hours, logs, measured = [], [], []
    for elapsed in experiment.every(seconds=30, duration=seconds - 30):
        now = reactor.read_all()
        if abs(now["temperature"] - target) < 0.5 and now["od"] > 0:
            hours.append(elapsed / 3600)
            logs.append(np.log(now["od"]))
            measured.append(now["temperature"])
        experiment.record(target=target)
    rate = np.polyfit(hours, logs, 1)[0] if len(hours) >= 10 else None
    profile.append(
        {
            "target": target,
            "temperature": np.mean(measured) if measured else None,
            "growth_rate_per_hour": rate,
            "settled_minutes": len(hours) / 2,
        }
    )
    print(f"{target:.1f} °C: " + (f"{rate:.2f} per hour" if rate is not None else "not settled"))

experiment.save("summary.json", {"profile": profile})
