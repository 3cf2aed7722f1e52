"""The image that experiments really get: built from the lock, complete, and without tools."""

import asyncio
import json
from contextlib import suppress
from dataclasses import replace

import pytest

from node_service.image.recipe import AllowList
from node_service.runner.interface import Limits
from node_service.runner.process import RunnerProcess, RunnerSettings
from tests.integration.runner.conftest import Bench

LOOK = """
import importlib, json, os, shutil, sys
imported = {name: importlib.import_module(name).__name__ for name in NAMES}
tools = ["pip", "pip3", "easy_install", "gcc", "cc", "g++", "clang", "ld", "as", "make", "git",
         "curl", "wget", "uv", "conda"]
def importable(name):
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True
print(json.dumps({
    "imported": imported,
    "tools": [tool for tool in tools if shutil.which(tool)],
    "modules": [name for name in ("pip", "ensurepip", "setuptools", "wheel") if importable(name)],
    "wheels": [n for _, _, names in os.walk("/usr") for n in names if n.endswith(".whl")],
    "python": sys.version_info[:2],
}))
"""
WORK = """
import io
import matplotlib.pyplot as plt
import numpy as np, pandas as pd, PIL.Image, scipy.optimize, simple_pid, sklearn.linear_model
t = np.linspace(0, 10, 100)
od = 0.05 * np.exp(0.4 * t)
(rate, _), _ = scipy.optimize.curve_fit(lambda t, r, a: a * np.exp(r * t), t, od, p0=(0.1, 0.1))
model = sklearn.linear_model.LinearRegression().fit(t[:, None], np.log(od))
plt.plot(t, od); plt.savefig("plot.png")
pd.DataFrame({"t": t, "od": od}).to_csv("od.csv")
PIL.Image.open("plot.png").verify()
simple_pid.PID(1, 0.1, 0, setpoint=37)(36)
from joblib import Parallel, delayed
assert Parallel(n_jobs=2)(delayed(abs)(n) for n in range(-3, 0)) == [3, 2, 1]
assert np.linalg.eigvals(np.random.default_rng(0).random((300, 300))).shape == (300,)
print(round(rate, 3), round(model.coef_[0], 3))
"""


@pytest.mark.timeout(600)
async def test_the_standard_image_has_all_that_is_allowed_and_nothing_to_add_more(
    settings: RunnerSettings,
) -> None:
    process = RunnerProcess(replace(settings, images={}, cache=None))
    running = asyncio.create_task(process.run())
    bench = Bench(settings, process, process.client)
    try:
        info = await bench.client.info()
        imports = AllowList.load().imports
        assert info.images == {"standard": imports}
        digest = await bench.image("standard")
        assert await bench.image("standard") == digest
        script = f"NAMES = {list(imports)}\n" + LOOK + WORK
        container = await bench.start(script, Limits(), "standard")
        ended, output = await bench.finish(container, 60)
        assert ended.exit_code == 0, output
        *_, looked, worked = output.splitlines()
        told = json.loads(looked)
        assert set(told["imported"]) == set(imports)
        if settings.kind == "docker":
            assert (told["tools"], told["modules"], told["wheels"]) == ([], [], [])
            assert told["python"] == [3, 11]
        else:  # it has the machine's tools, but Python finds no package that is not allowed
            assert not {"pip", "setuptools", "wheel"} & set(told["modules"])
        assert worked == "0.4 0.4"
    finally:
        for run in bench.runs:
            await bench.client.discard(run)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
