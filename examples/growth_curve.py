# /// script
# dependencies = ["matplotlib", "numpy", "pandas"]
# [tool.bioreactor]
# name = "Growth curve"
# max_duration = "3 d"
# needs = ["od", "temperature", "do", "temperature-setpoint", "stirring"]
# [tool.bioreactor.parameters]
# temperature = {default = 37, unit = "°C", min = 15, max = 42, description = "of the culture"}
# stirring = {default = 700, unit = "rpm", min = 50, max = 1000, description = "speed"}
# hours = {default = 10, unit = "h", min = 0.05, max = 72, description = "how long to watch"}
# ///
"""Growth curve: watch a batch culture grow, and find out how fast.

Density, temperature and oxygen are noted each minute. At the end a straight line is fitted to
the logarithm of the density over each half hour; the steepest one is the growth rate.
"""

import matplotlib as mpl
import numpy as np
import pandas as pd

from bioreactor import experiment, reactor

mpl.use("Agg")
import matplotlib.pyplot as plt

WINDOW = 30


def growth_rates(hours: np.ndarray, od: np.ndarray) -> np.ndarray:
    """Return the slope of ln(od) in 1/h round each point; nan where there is too little."""
    rates = np.full(len(od), np.nan)
    for i in range(len(od) - WINDOW):
        piece = slice(i, i + WINDOW)
        if (od[piece] > 0.08).all():  # below, noise is most of it
            rates[i + WINDOW // 2] = np.polyfit(hours[piece], np.log(od[piece]), 1)[0]
    return rates


def plot(curve: pd.DataFrame) -> plt.Figure:
    figure, (density, rate) = plt.subplots(2, sharex=True, figsize=(8, 6), layout="constrained")
    density.semilogy(curve["hours"], curve["od"].clip(lower=0.01))
    density.set_ylabel("OD600")
    rate.plot(curve["hours"], curve["growth_rate"])
    rate.set_ylabel("growth rate, 1/h")
    rate.set_xlabel("hours")
    return figure


wanted = experiment.parameters
reactor.set("temperature-setpoint", wanted["temperature"])
reactor.set("stirring", wanted["stirring"])

readings = []
for elapsed in experiment.every(seconds=60, duration=wanted["hours"] * 3600):
    now = reactor.read_all()
    readings.append((elapsed / 3600, now["od"], now["temperature"], now["do"]))
    if len(readings) % 30 == 1:
        print(f"{elapsed / 3600:5.2f} h   OD {now['od']:.3f}   {now['temperature']:.1f} °C")

curve = pd.DataFrame(readings, columns=["hours", "od", "temperature", "do"])
curve["growth_rate"] = growth_rates(curve["hours"].to_numpy(), curve["od"].to_numpy())
fastest = curve["growth_rate"].max()

experiment.save("growth_curve.csv", curve)
experiment.save("growth_curve.png", plot(curve))
experiment.save(
    "summary.json",
    {
        "final_od": curve["od"].tail(5).mean(),
        "growth_rate_per_hour": fastest,
        "doubling_minutes": 60 * np.log(2) / fastest,
    },
)
print(f"fastest growth: {fastest:.2f} per hour")
