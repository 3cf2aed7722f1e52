"""What the engine is told: every lock is on, whatever the limits."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_service.image.tree import Tree
from node_service.runner import seccomp
from node_service.runner.containers import check_runtime
from node_service.runner.interface import Attempt, Limits, RunnerError, RunPaths, RunSpec
from node_service.runner.options import Place, create_options
from node_service.runner.sandbox_options import Descriptors, sandbox_options

RUN = Attempt("01J0000000000000000000000A", 2)
RUNS = Path("/data/runs")
PATHS = RunPaths.of(RUNS, RUN)
PLACE = Place("reactor-1", "abc", None, seccomp.profile(), "filesystem", 2, RUNS)
limits = st.builds(
    Limits,
    memory=st.integers(32 * 1024**2, 2**40),
    cpus=st.floats(0.001, 1000),
    pids=st.integers(8, 10_000),
    tmp=st.integers(1024**2, 2**40),
    results=st.integers(1024**2, 2**40),
    log=st.integers(64 * 1024, 2**40),
    grace=st.floats(0, 1000),
)


@given(limits)
def test_every_lock_is_on(given_limits: Limits) -> None:
    options = create_options(RunSpec(RUN, "sha256:0", given_limits), PLACE)
    host = options["HostConfig"]
    assert options["User"] == "65532:65532"
    assert host["NetworkMode"] == "none"
    assert host["CapDrop"] == ["ALL"]
    assert host["ReadonlyRootfs"]
    assert not host["Privileged"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert any(part.startswith("seccomp={") for part in host["SecurityOpt"])
    assert host["MemorySwap"] == host["Memory"] == given_limits.memory
    assert host["PidsLimit"] == given_limits.pids
    assert 1e7 <= host["NanoCpus"] <= 2e9
    assert "Devices" not in host
    assert "PidMode" not in host
    assert host["IpcMode"] == "private"
    for options_of_tmpfs in host["Tmpfs"].values():
        assert {"nosuid", "nodev", "noexec"} <= set(options_of_tmpfs.split(","))


def test_nothing_of_the_host_is_lent_but_what_the_run_needs() -> None:
    host = create_options(RunSpec(RUN, "sha256:0"), PLACE)["HostConfig"]
    lent = {mount["Target"]: (mount["Source"], mount["ReadOnly"]) for mount in host["Mounts"]}
    directory = "/data/runs/01J0000000000000000000000A.2"
    assert lent == {
        "/experiment/script.py": (f"{directory}/script.py", True),
        "/run/bioreactor": (f"{directory}/gateway", True),
        "/results": (f"{directory}/results", False),
    }
    assert set(host["Tmpfs"]) == {"/tmp"}  # noqa: S108
    place = replace(PLACE, results="tmpfs", runtime="runsc")
    host = create_options(RunSpec(RUN, "sha256:0"), place)["HostConfig"]
    assert "size=16777216" in host["Tmpfs"]["/results"]
    assert host["Runtime"] == "runsc"
    assert len(host["Mounts"]) == 2


def test_gvisor_must_let_scripts_reach_their_gateway() -> None:
    path = {"path": "/usr/local/bin/runsc"}
    check_runtime("runsc", {"runsc": {**path, "runtimeArgs": ["--host-uds=open"]}})
    check_runtime("runsc", {"runsc": {**path, "runtimeArgs": ["--fsgofer-host-uds"]}})
    check_runtime("crun", {"crun": {"path": "crun"}})
    with pytest.raises(RunnerError, match="no script would reach its reactor") as refused:
        check_runtime("runsc", {"runsc": path})
    assert "--host-uds=open" in refused.value.hint
    with pytest.raises(RunnerError, match="no runtime called runsc"):
        check_runtime("runsc", {"runc": {"path": "runc"}})


def test_a_log_is_kept_beyond_its_budget_and_bounded() -> None:
    spec = RunSpec(RUN, "sha256:0", Limits(log=1024**2))
    log = create_options(spec, PLACE)["HostConfig"]["LogConfig"]
    assert log["Type"] == "local"
    assert int(log["Config"]["max-size"]) * int(log["Config"]["max-file"]) == 4 * 1024**2


@pytest.mark.parametrize("root", [True, False])
def test_a_sandbox_shares_no_namespace(root: bool) -> None:
    tree = Tree(Path("/packages"), Path("/sdk"))
    options = sandbox_options(Limits(), PATHS, tree, "filesystem", Descriptors(3, 4, 5), root=root)
    names = {"--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts"}
    assert names <= set(options) or {"--unshare-all", "--disable-userns"} <= set(options)
    assert "--die-with-parent" in options
    assert "--clearenv" in options
    assert options[options.index("--seccomp") + 1] == "3"
    binds = [options[n + 1] for n, part in enumerate(options) if part == "--bind"]
    assert binds == [str(PATHS.results)]


def test_limits_are_those_of_the_contract() -> None:
    """The fields that `Limits.of` takes over exist there under the same names."""
    from broker.messages import RunLimits  # noqa: PLC0415

    taken = Limits.of(RunLimits(memory=64 * 1024**2, cpus=0.5, pids=9, grace=3))
    assert (taken.memory, taken.cpus, taken.pids, taken.grace) == (64 * 1024**2, 0.5, 9, 3)
    assert {part.name for part in fields(Limits)} <= set(RunLimits.model_fields)
