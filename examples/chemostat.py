# /// script
# [tool.bioreactor]
# name = "Chemostat"
# max_duration = "7 d"
# needs = ["od", "volume", "media", "waste", "temperature-setpoint", "stirring"]
# [tool.bioreactor.parameters]
# dilution_rate = {default = 0.3, unit = "1/h", min = 0.05, max = 1, description = "volumes/hour"}
# start_od = {default = 0.4, unit = "OD600", min = 0, max = 4, description = "feed from here on"}
# temperature = {default = 37, unit = "°C", min = 15, max = 42, description = "of the culture"}
# hours = {default = 16, unit = "h", min = 0.1, max = 168, description = "how long to run"}
# ///
"""Chemostat: feed at a constant rate, and let the culture find its balance.

Once the culture is dense enough, medium comes every five minutes and culture leaves with it. In
the balance the culture grows as fast as it is diluted; diluted faster than it can grow, it is
washed out. What could not be fed is made up for, but not all at once; after an hour in which
nothing could be fed the run ends and says why.
"""

import math
import sys
from statistics import mean

from bioreactor import experiment, reactor

PERIOD = 300
LEAST, MOST = 0.5, 3.0  # mL at a time: many pumps dose no less, and more would be a shock
REFUSED = (reactor.DoseLimitError, reactor.InterlockError, reactor.OutputsReset)

wanted = experiment.parameters
reactor.set("temperature-setpoint", wanted["temperature"])
reactor.set("stirring", 800)


def feed(ml: float) -> float:
    """Replace culture by medium; return how much medium came, mL."""
    try:
        # More goes out than comes in: the straw sets the level.
        if reactor.dose("waste", ml=1.2 * ml).delivered_ml < ml:
            return 0.0  # paused on the way: medium for which there is no room would raise the level
    except REFUSED as reason:
        experiment.log(f"fed later: {reason}", level="warning")
        return 0.0
    try:
        return reactor.dose("media", ml=ml).delivered_ml
    except REFUSED as reason:
        experiment.log(f"fed less: {reason}", level="warning")
        return reason.details.get("delivered_ml", 0.0)


feeding = False
densities = []
volume = 0.0
owed = 0.0  # mL that could not be fed yet
tries = 0  # in a row, of which nothing came
stopped = None

for n, elapsed in enumerate(experiment.every(seconds=PERIOD, duration=wanted["hours"] * 3600)):
    od, level = reactor.read("od"), reactor.read("volume")
    if not math.isnan(od):  # a sensor may be silent for a while
        densities.append(od)
    if not math.isnan(level):
        volume = level
    if not feeding and od >= wanted["start_od"]:
        feeding = True
        print(f"{elapsed / 3600:5.2f} h   OD {od:.2f}: feeding begins")
    if feeding:
        owed = min(owed + wanted["dilution_rate"] * volume * PERIOD / 3600, MOST)
    if owed >= LEAST:
        came = feed(owed)
        owed = max(0.0, owed - came)
        tries = 0 if came else tries + 1
    experiment.record(fed_ml=reactor.read("media"))
    if n % 12 == 0:
        print(f"{elapsed / 3600:5.2f} h   OD {od:.3f}   fed {reactor.read('media'):.1f} mL")
    if tries * PERIOD >= 3600:
        stopped = "nothing could be fed for an hour: the log says why"
        break

last, before = densities[-12:], densities[-24:-12] or densities[-12:]
experiment.save(
    "summary.json",
    {
        "dilution_rate_per_hour": wanted["dilution_rate"] if feeding else 0.0,
        "final_od": mean(last) if last else None,
        "balanced": bool(last) and abs(mean(last) - mean(before)) < 0.05 * abs(mean(last)),
        "medium_ml": reactor.read("media"),
    },
)
sys.exit(stopped)
