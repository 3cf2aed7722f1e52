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
washed out.
"""

from statistics import mean

from bioreactor import experiment, reactor

PERIOD = 300

wanted = experiment.parameters
reactor.set("temperature-setpoint", wanted["temperature"])
reactor.set("stirring", 800)

feeding = False
densities = []
owed = 0.0  # mL that could not be fed yet

for elapsed in experiment.every(seconds=PERIOD, duration=wanted["hours"] * 3600):
    od, volume = reactor.read("od"), reactor.read("volume")
    densities.append(od)
    if not feeding and od >= wanted["start_od"]:
        feeding = True
        print(f"{elapsed / 3600:5.2f} h   OD {od:.2f}: feeding begins")
    if feeding:
        owed += wanted["dilution_rate"] * volume * PERIOD / 3600
        try:
            reactor.dose("waste", ml=owed * 1.2)
            owed -= reactor.dose("media", ml=owed).delivered_ml
        except (reactor.DoseLimitError, reactor.InterlockError, reactor.OutputsReset) as reason:
            experiment.log(f"fed later: {reason}", level="warning")
    experiment.record(fed_ml=reactor.read("media"))
    if len(densities) % 12 == 1:
        print(f"{elapsed / 3600:5.2f} h   OD {od:.3f}   fed {reactor.read('media'):.1f} mL")

last, before = densities[-12:], densities[-24:-12] or densities[-12:]
experiment.save(
    "summary.json",
    {
        "dilution_rate_per_hour": wanted["dilution_rate"] if feeding else 0.0,
        "final_od": mean(last),
        "balanced": abs(mean(last) - mean(before)) < 0.05 * abs(mean(last)),
        "medium_ml": reactor.read("media"),
    },
)
