# /// script
# [tool.bioreactor]
# name = "Turbidostat"
# max_duration = "3 d"
# needs = ["od", "volume", "media", "waste", "temperature-setpoint", "stirring"]
# [tool.bioreactor.parameters]
# target_od = {default = 0.5, unit = "OD600", min = 0.05, max = 4, description = "held density"}
# dose = {default = 1.0, unit = "mL", min = 0.5, max = 3, description = "medium at a time"}
# temperature = {default = 37, unit = "°C", min = 15, max = 42, description = "of the culture"}
# hours = {default = 8, unit = "h", min = 0.05, max = 72, description = "how long to run"}
# ///
"""Turbidostat: hold a culture at a constant density while it grows.

Each minute the density is looked at; above the target, a little culture is replaced by fresh
medium. How much medium that takes in an hour says how fast the culture grows. The target may be
changed while the experiment runs.

A density that does not fall although a whole vessel of medium came is not believed: rather than be
washed out for a sensor that is dirty or a tube that is off, the run ends and says so.
"""

import math
import sys
from collections import deque
from statistics import median

from bioreactor import experiment, reactor

wanted = experiment.parameters
reactor.set("temperature-setpoint", wanted["temperature"])
reactor.set("stirring", 700)

recent = deque(maxlen=5)  # single readings are noisy, the middle one of five is not
fed = deque()  # when and how much medium came, in the last hour
held = []
volume = dilution = 0.0
came, began_at = 0.0, 0.0  # mL since the density is above the target, and what it was then
stopped = None
REFUSED = (reactor.DoseLimitError, reactor.InterlockError, reactor.OutputsReset)


def dilute(ml: float) -> float:
    """Replace culture by medium; return how much medium came, mL."""
    try:
        # More goes out than comes in: the straw sets the level.
        if reactor.dose("waste", ml=1.2 * ml).delivered_ml < ml:
            return 0.0  # paused on the way: medium for which there is no room would raise the level
    except REFUSED as reason:
        experiment.log(f"not diluted now: {reason}", level="warning")
        return 0.0
    try:
        return reactor.dose("media", ml=ml).delivered_ml
    except REFUSED as reason:
        experiment.log(f"diluted less: {reason}", level="warning")
        return reason.details.get("delivered_ml", 0.0)


for n, elapsed in enumerate(experiment.every(seconds=60, duration=wanted["hours"] * 3600)):
    now, level = reactor.read("od"), reactor.read("volume")
    if math.isnan(now):
        recent.clear()  # the sensor is silent: what it said before is of another culture
    else:
        recent.append(now)
    if not math.isnan(level):
        volume = level
    od = median(recent) if len(recent) == recent.maxlen else math.nan
    if od > wanted["target_od"]:
        began_at = max(began_at, od) if came else od
        fed.append((elapsed, dilute(wanted["dose"])))
        came += fed[-1][1]
        held.append(od)
    elif od <= wanted["target_od"]:
        came = 0.0
    while fed and fed[0][0] <= elapsed - 3600:
        fed.popleft()
    hour = max(60, min(elapsed, 3600)) / 3600
    if volume > 0:
        dilution = sum(ml for _, ml in fed) / hour / volume
    experiment.record(od_median=od, dilution_rate=dilution)
    if n % 30 == 0:
        print(f"{elapsed / 3600:5.2f} h   OD {od:.3f}   {dilution:.2f} volumes an hour")
    if came > volume > 0:
        if od > 0.9 * began_at:
            stopped = f"OD {od:.2f} does not fall, and {came:.1f} mL came: look at sensor and tubes"
            break
        came = 0.0

experiment.save(
    "summary.json",
    {
        "target_od": wanted["target_od"],
        "dilutions": len(held),
        "mean_od": sum(held) / len(held) if held else None,
        "growth_rate_per_hour": dilution,
        "medium_ml": reactor.read("media"),
    },
)
sys.exit(stopped)
