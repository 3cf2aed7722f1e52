# /// script
# dependencies = ["numpy"]
# [tool.bioreactor]
# name = "Light and dark"
# max_duration = "14 d"
# needs = ["od", "light", "temperature-setpoint", "stirring"]
# [tool.bioreactor.parameters]
# level = {default = 80, unit = "%", min = 1, max = 100, description = "of the light"}
# light_hours = {default = 1, unit = "h", min = 0.02, max = 24, description = "light in a cycle"}
# dark_hours = {default = 1, unit = "h", min = 0.02, max = 24, description = "dark in a cycle"}
# temperature = {default = 30, unit = "°C", min = 15, max = 42, description = "of the culture"}
# hours = {default = 8, unit = "h", min = 0.1, max = 336, description = "for all cycles"}
# ///
"""Light and dark: switch the light in a cycle, and compare how the culture grows.

The light is a direct output: it goes off by itself unless it is renewed, so nothing stays on when
a script dies. Here it is renewed each minute, and never for longer than the light shall last.
"""

import numpy as np

from bioreactor import experiment, reactor

wanted = experiment.parameters
reactor.set("temperature-setpoint", wanted["temperature"])
reactor.set("stirring", 700)


def light_for(seconds: float) -> None:
    """Have the light on for so long."""
    try:
        reactor.set("light", wanted["level"], seconds=seconds)
    except reactor.OutputsReset:  # the node restarted, and had switched it off
        reactor.set("light", wanted["level"], seconds=seconds)


light, dark = wanted["light_hours"] * 3600, wanted["dark_hours"] * 3600
phases = {}  # (cycle, lit): hours and logarithms of the density

for elapsed in experiment.every(seconds=60, duration=wanted["hours"] * 3600 - 60):
    cycle, place = divmod(elapsed, light + dark)
    lit = place < light
    if lit:
        light_for(min(75, light - place))
    od = reactor.read("od")
    if (cycle, lit) not in phases:
        print(f"{elapsed / 3600:5.2f} h   OD {od:.3f}   {'light' if lit else 'dark'}")
    if od > 0:
        phases.setdefault((cycle, lit), []).append((elapsed / 3600, np.log(od)))

rates = {True: [], False: []}
for (_, lit), points in phases.items():
    if len(points) >= 10:
        hours, logs = np.transpose(points)
        rates[lit].append(np.polyfit(hours, logs, 1)[0])

experiment.save(
    "summary.json",
    {
        "growth_rates_light": rates[True],
        "growth_rates_dark": rates[False],
    },
)
