# /// script
# [tool.bioreactor]
# name = "Turbidostat"
# max_duration = "3 d"
# needs = ["od", "volume", "media", "waste", "temperature-setpoint", "stirring"]
# [tool.bioreactor.parameters]
# target_od = {default = 0.5, unit = "OD600", min = 0.05, max = 4, description = "held density"}
# dose = {default = 1.0, unit = "mL", min = 0.2, max = 3, description = "medium at a time"}
# temperature = {default = 37, unit = "°C", min = 15, max = 42, description = "of the culture"}
# hours = {default = 8, unit = "h", min = 0.05, max = 72, description = "how long to run"}
# ///
"""Turbidostat: hold a culture at a constant density while it grows.

Each minute the density is looked at; above the target, a little culture is replaced by fresh
medium. How much medium that takes in an hour says how fast the culture grows. The target may be
changed while the experiment runs.
"""

from collections import deque
from statistics import median

from bioreactor import experiment, reactor

wanted = experiment.parameters
reactor.set("temperature-setpoint", wanted["temperature"])
reactor.set("stirring", 700)

recent = deque(maxlen=5)  # single readings are noisy, the middle one of five is not
fed = deque()  # when and how much medium came, in the last hour
held = []


def dilute(ml: float) -> float:
    """Replace culture by medium; return how much medium came, mL."""
    try:
        reactor.dose("waste", ml=1.2 * ml)  # more than comes in: the straw sets the level
        return reactor.dose("media", ml=ml).delivered_ml
    except (reactor.DoseLimitError, reactor.InterlockError, reactor.OutputsReset) as reason:
        experiment.log(f"not diluted now: {reason}", level="warning")
        return 0.0


for n, elapsed in enumerate(experiment.every(seconds=60, duration=wanted["hours"] * 3600)):
    recent.append(reactor.read("od"))
    od = median(recent)
    if len(recent) == recent.maxlen and od > wanted["target_od"]:
        fed.append((elapsed, dilute(wanted["dose"])))
        held.append(od)
    while fed and fed[0][0] <= elapsed - 3600:
        fed.popleft()
    hour = max(60, min(elapsed, 3600)) / 3600
    dilution = sum(ml for _, ml in fed) / hour / reactor.read("volume")
    experiment.record(od_median=od, dilution_rate=dilution)
    if n % 30 == 0:
        print(f"{elapsed / 3600:5.2f} h   OD {od:.3f}   {dilution:.2f} volumes an hour")

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
