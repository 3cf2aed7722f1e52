"""Scripts that try to get out, in a real container and in a real sandbox."""
# ruff: noqa: S108 (the paths below are those inside)

import asyncio
import json
import os
import platform
import socket
from pathlib import Path
from typing import Any

import pytest

from node_service.runner.interface import CONTAINER_UID
from node_service.runner.paths import socket_address
from tests.integration.runner.conftest import Bench, more

TRY = """
import errno, json
def attempt(name, work):
    try:
        told[name] = ["done", repr(work())]
    except OSError as error:
        told[name] = [errno.errorcode.get(error.errno, str(error.errno)), str(error)]
    except Exception as error:
        told[name] = [type(error).__name__, str(error)]
told = {}
"""
SET_USER_ID = """
attempt("set-user-id programs", lambda: [
    path for top, _, names in os.walk("/usr") for path in (os.path.join(top, n) for n in names)
    if os.path.isfile(path) and not os.path.islink(path) and os.stat(path).st_mode & 0o6000])
"""
METADATA = "169.254.169.254"
"""Where clouds serve credentials of the machine; asked only from inside, where it must fail."""


async def probe(bench: Bench, script: str, **limits: float) -> dict[str, Any]:
    ended, output = await bench.run(TRY + script + "\nprint(json.dumps(told))", more(**limits))
    assert ended.exit_code == 0, output
    told: dict[str, Any] = json.loads(output)
    return told


async def test_it_is_nobody_and_can_become_nobody_else(bench: Bench) -> None:
    told = await probe(
        bench,
        """
import os
attempt("setuid", lambda: os.setuid(0))
attempt("setgid", lambda: os.setgid(0))
attempt("groups", lambda: os.setgroups([0]))
told["ids"] = [*os.getresuid(), *os.getresgid(), *os.getgroups()]
told["status"] = dict(line.split(":", 1) for line in open("/proc/self/status"))
attempt("nice", lambda: os.nice(-5))
"""
        + (SET_USER_ID if bench.settings.kind == "docker" else ""),
    )
    assert set(told["ids"]) == {CONTAINER_UID}
    status = {key: value.strip() for key, value in told["status"].items()}
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind], 16) == 0, kind
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    for name in ("setuid", "setgid", "groups"):
        assert told[name][0] == "EPERM", name
    assert told["nice"][0] in {"EACCES", "EPERM"}
    if bench.settings.kind == "docker":
        assert told["set-user-id programs"] == ["done", "[]"]


async def test_it_reaches_no_network(bench: Bench) -> None:
    """Not the host's listeners, wherever they listen, not another container, and not the world."""
    other = await bench.start(
        """
        import socket, time
        listener = socket.create_server(("0.0.0.0", 4711))
        print("up")
        time.sleep(30)
        """
    )
    await bench.until_said(other, "up")
    with socket.create_server(("0.0.0.0", 0)) as listener:
        addresses = {"127.0.0.1", "192.0.2.1", "172.17.0.1", METADATA, _own_address()}
        told = await probe(
            bench,
            f"""
import socket
for address in {sorted(addresses)}:
    attempt(address, lambda: socket.create_connection((address, {listener.getsockname()[1]}), 2))
attempt("metadata", lambda: socket.create_connection(("{METADATA}", 80), 2))
attempt("other", lambda: socket.create_connection(("127.0.0.1", 4711), 2))
attempt("datagram", lambda: socket.socket(2, 2).sendto(b"x", ("192.0.2.1", 53)))
attempt("datagram 6", lambda: socket.socket(10, 2).sendto(b"x", ("2001:db8::1", 53)))
attempt("name", lambda: socket.getaddrinfo("example.org", 443))
attempt("interfaces", socket.if_nameindex)
attempt("abstract", lambda: socket.socket(socket.AF_UNIX).connect("\\0/tmp/dbus"))
attempt("engine", lambda: socket.socket(socket.AF_UNIX).connect("/var/run/docker.sock"))
""",
        )
    for address in addresses:
        assert told[address][0] in {"ENETUNREACH", "ECONNREFUSED"}, told[address]
    assert told["metadata"][0] == "ENETUNREACH"
    assert told["other"][0] == "ECONNREFUSED"
    assert {told["datagram"][0], told["datagram 6"][0]} <= {"ENETUNREACH", "EADDRNOTAVAIL"}
    assert told["name"][0] != "done"
    assert told["abstract"][0] == "ECONNREFUSED"
    assert told["engine"][0] in {"ENOENT", "ENOTDIR"}
    assert "eth" not in told["interfaces"][1]


async def test_system_calls_that_open_the_kernel_are_refused(bench: Bench) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("the numbers below are those of x86_64")
    calls = {
        "io_uring_setup": 425, "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311,
        "keyctl": 250, "add_key": 248, "request_key": 249, "bpf": 321, "perf_event_open": 298,
        "userfaultfd": 323, "unshare": 272, "setns": 308, "mount": 165, "umount2": 166,
        "pivot_root": 155, "chroot": 161, "open_tree": 428, "move_mount": 429, "fsopen": 430,
        "mount_setattr": 442, "kexec_load": 246, "kexec_file_load": 320, "init_module": 175,
        "finit_module": 313, "reboot": 169, "swapon": 167, "iopl": 172, "acct": 163,
        "settimeofday": 164, "clock_settime": 227, "sethostname": 170, "syslog": 103,
        "open_by_handle_at": 304, "name_to_handle_at": 303, "personality": 135, "quotactl": 179,
        "pidfd_getfd": 438, "process_madvise": 440, "memfd_secret": 447, "landlock": 444,
        "vmsplice": 278, "msgget": 68, "shmget": 29,
    }  # fmt: skip
    sockets = {
        "vsock": (40, 1, 0), "packet": (17, 3, 0), "netlink": (16, 3, 0), "raw": (2, 3, 1),
        "raw6": (10, 3, 58), "alg": (38, 5, 0), "bluetooth": (31, 1, 0), "can": (29, 3, 1),
        "mptcp": (2, 1, 262), "sctp": (2, 1, 132), "ping": (2, 2, 1), "seqpacket": (2, 5, 0),
    }  # fmt: skip
    told = await probe(
        bench,
        f"""
import ctypes, socket
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")
for name, number in {calls}.items():
    attempt(name, lambda: call(number, 0, 0, 0, 0, 0))
attempt("new user namespace", lambda: call(56, 0x10000000 | 17, 0, 0, 0, 0))
attempt("clone3", lambda: call(435, 0, 0))
for name, (family, kind, protocol) in {sockets}.items():
    attempt(name, lambda: socket.socket(family, kind, protocol))
for name, kind in ("tcp", 1), ("udp", 2):
    attempt(name, lambda: socket.socket(2, kind).close())
attempt("unix", lambda: [part.close() for part in socket.socketpair()])
""",
    )
    for name in [*calls, *sockets, "new user namespace"]:
        assert told[name][0] == "EPERM", (name, told[name])
    assert told["clone3"][0] == "ENOSYS"
    assert {told[name][0] for name in ("tcp", "udp", "unix")} == {"done"}


async def test_a_foreign_abi_kills(bench: Bench) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("about x86_64")
    ended, output = await bench.run(
        "import ctypes\nprint('up')\nctypes.CDLL(None).syscall(0x40000000 | 39)\nprint('alive')"
    )
    assert (ended.signal, output) == (31, "up\n")


async def test_it_can_start_what_python_needs(bench: Bench) -> None:
    """Threads, subprocesses, multiprocessing with its semaphores, asyncio, local sockets."""
    told = await probe(
        bench,
        """
import asyncio, multiprocessing, subprocess, threading, tempfile, socket
def thread():
    thread = threading.Thread(target=print, args=("",), kwargs={"end": ""})
    thread.start(); thread.join()
attempt("thread", thread)
attempt("subprocess", lambda: subprocess.run(["true"], check=True))
def work(queue): queue.put(7)
def process():
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=work, args=(queue,)); child.start()
    value = queue.get(timeout=5); child.join()
    return value
attempt("multiprocessing", process)
async def loop():
    child = await asyncio.create_subprocess_exec("true")
    return await child.wait()
attempt("asyncio", lambda: asyncio.run(loop()))
attempt("temporary file", lambda: tempfile.NamedTemporaryFile().write(b"x"))
""",
    )
    assert {told[name][0] for name in told} == {"done"}, told


async def test_it_writes_only_where_it_may(bench: Bench) -> None:
    places = [
        "/",
        "/etc",
        "/usr/lib",
        "/opt/packages",
        "/experiment",
        "/run/bioreactor",
        "/proc/sys",
    ]
    told = await probe(
        bench,
        f"""
import os, pathlib
for place in {places}:
    attempt(place, lambda: pathlib.Path(place, "mine").write_text("x"))
attempt("script", lambda: open("/experiment/script.py", "a").write("x"))
attempt("chmod script", lambda: os.chmod("/experiment/script.py", 0o777))
attempt("/dev", lambda: pathlib.Path("/dev/mine").write_text("x"))
attempt("device", lambda: os.mknod("disk", 0o60666, os.makedev(7, 0)))
attempt("/tmp", lambda: pathlib.Path("/tmp/mine").write_text("x"))
attempt("/results", lambda: pathlib.Path("/results/mine").write_text("x"))
attempt("cwd", os.getcwd)
def run_from(place):
    program = pathlib.Path(place, "program")
    program.write_bytes(open("/usr/bin/true", "rb").read())
    program.chmod(0o755)
    return os.posix_spawn(str(program), ["true"], {{}})
attempt("run from /results", lambda: run_from("/results"))
""",
    )
    for place in [*places, "script", "chmod script", "/dev", "device", "run from /results"]:
        assert told[place][0] in {"EROFS", "EACCES", "EPERM", "ENOENT"}, (place, told[place])
    assert told["/tmp"][0] == told["/results"][0] == "done"
    assert told["cwd"] == ["done", "'/results'"]
    assert (bench.paths.results / "mine").read_text() == "x"


async def test_disk_space_is_bounded(bench: Bench) -> None:
    told = await probe(
        bench,
        """
import os
def fill(path):
    written = 0
    with open(path, "wb", buffering=0) as file:
        try:
            while written < 64 * 1024**2:
                written += file.write(b"x" * 65536)
        except OSError as error:
            told[path + " error"] = [error.errno]
    return written
attempt("/tmp/full", lambda: fill("/tmp/full"))
os.remove("/tmp/full")
attempt("/results/full", lambda: fill("/results/full"))
attempt("/dev/shm/full", lambda: fill("/dev/shm/full"))
attempt("inodes", lambda: [open(f"/results/{n}", "w").close() for n in range(200_000)])
""",
        memory=128 * 1024**2,
    )
    for path in ("/tmp/full", "/results/full", "/dev/shm/full"):
        assert told[path][0] == "done", told[path]
        assert 3_000_000 < int(told[path][1]) < 6_000_000, path
        assert told[f"{path} error"] == [28]
    assert told["inodes"][0] == "ENOSPC"
    assert (bench.paths.results / "full").stat().st_size == int(told["/results/full"][1])


async def test_links_and_devices_in_the_results_lead_nowhere(bench: Bench) -> None:
    """A node that forgets to look reads nothing of its own machine."""
    secret = bench.settings.directory / "secret"
    secret.write_text("of the node")
    await probe(
        bench,
        f"""
import os
os.symlink({str(secret)!r}, "link")
os.symlink("/etc", "directory")
os.symlink("../script.py", "relative")
os.mkfifo("pipe")
os.mkdir("locked", 0)
""",
    )
    results = bench.paths.results
    for name in ("link", "directory/passwd", "relative"):
        with pytest.raises(OSError, match="symbolic links"):
            (results / name).read_text()
    assert {"nosuid", "nodev", "noexec", "nosymfollow"} <= _mount_flags(results)
    assert (results / "locked").stat().st_uid == CONTAINER_UID


async def test_it_sees_no_one_else(bench: Bench) -> None:
    """No process, file, mount or variable of the host or of another experiment."""
    other = await bench.start(
        """
        import socket, time
        open('mark', 'w')
        open('/tmp/mark', 'w')
        abstract = socket.socket(socket.AF_UNIX)
        abstract.bind("\\0of-another-experiment")
        abstract.listen()
        print('up')
        time.sleep(30)
        """
    )
    await bench.until_said(other, "up")
    others = bench.runs[0].experiment_id
    sockets = [str(bench.settings.socket), str(bench.paths.socket)]
    os.environ["BIOREACTOR_TEST_SECRET"] = "of the node"
    told = await probe(
        bench,
        f"""
import os, signal, socket, subprocess
told["processes"] = [int(name) for name in os.listdir("/proc") if name.isdigit()]
told["commands"] = [open(f"/proc/{{n}}/cmdline").read() for n in told["processes"]]
told["environment"] = dict(os.environ)
attempt("parent's environment", lambda: open("/proc/1/environ").read())
told["mounts"] = open("/proc/self/mountinfo").read()
paths = "/home", "/var/lib/docker", "/work", "/var/run/docker.sock", "/results/mark"
paths += "/etc/shadow", "/tmp/mark", {str(bench.settings.directory)!r}
paths += tuple("/proc/1/root" + path for path in paths)
told["files"] = [path for path in paths if os.access(path, os.R_OK)]
told["devices"] = os.listdir("/dev")
attempt("kill all", lambda: os.kill(-1, 0))
attempt("abstract", lambda: socket.socket(socket.AF_UNIX).connect("\\0of-another-experiment"))
told["sockets"] = [path for path in {sockets} if os.path.lexists(path)]
attempt("kcore", lambda: open("/proc/kcore", "rb").read(9))
attempt("sysrq-trigger", lambda: open("/proc/sysrq-trigger", "r+b").read(9))
attempt("kernel setting", lambda: open("/proc/sys/kernel/hostname", "w").write("mine"))
attempt("core pattern", lambda: open("/proc/sys/kernel/core_pattern", "w").write("|/tmp/x"))
attempt("memory of the first process", lambda: open("/proc/1/mem", "rb").read(1))
attempt("files of the first process", lambda: os.listdir("/proc/1/fd"))
""",
    )
    del os.environ["BIOREACTOR_TEST_SECRET"]
    assert len(told["processes"]) <= 4
    assert "BIOREACTOR_TEST_SECRET" not in told["environment"]
    assert not any(others in text for text in [*told["commands"], told["mounts"]])
    assert "BIOREACTOR_TEST_SECRET" not in told["parent's environment"][1]
    assert set(told["files"]) <= {"/home", "/proc/1/root/home"}
    assert not set(told["devices"]) & {"kmsg", "mem", "sda", "vda", "loop0", "fuse", "kvm"}
    assert told["abstract"][0] == "ECONNREFUSED"
    assert told["sockets"] == []
    for name in ("kcore", "sysrq-trigger", "kernel setting", "core pattern"):
        assert told[name][0] in {"EACCES", "EPERM", "EROFS", "ENOENT", "EIO"}, (name, told[name])
    if bench.settings.kind == "bubblewrap":  # a container's first process is the experiment's own
        for name in ("memory of the first process", "files of the first process"):
            assert told[name][0] in {"EACCES", "EPERM"}, (name, told[name])
    assert (await bench.client.status(other)).state == "running"


async def test_a_fork_bomb_is_contained(bench: Bench) -> None:
    container = await bench.start(
        """
        import os, time
        print("up")
        failed = 0
        while True:
            try:
                if os.fork() == 0:
                    time.sleep(60)
            except OSError:
                failed += 1
                if failed == 100: print("contained")
                time.sleep(0.001)
        """,
        more(pids=20),
    )
    await bench.until_said(container, "contained")
    assert (await bench.client.status(container)).pids <= 20
    await bench.client.kill(container)
    ended, _ = await bench.finish(container)
    assert ended.exit_code == -9


async def test_processor_time_is_limited(bench: Bench) -> None:
    told = await probe(
        bench,
        """
import multiprocessing, os, time
def burn(until):
    while time.monotonic() < until: pass
until = time.monotonic() + 1.5
make = multiprocessing.get_context("fork").Process
burners = [make(target=burn, args=(until,)) for _ in range(3)]
for burner in burners: burner.start()
for burner in burners: burner.join()
told["used"] = [sum(os.times()[2:4])]
""",
        cpus=0.3,
    )
    assert float(told["used"][0]) < 0.3 * 1.5 * 1.6


async def test_the_gateway_is_reached_through_its_directory(bench: Bench) -> None:
    """Also after the node made the socket anew, and no other file can be put there."""
    container = await bench.start(
        """
        import os, socket, sys, time
        def ask(text):
            while True:
                with socket.socket(socket.AF_UNIX) as way:
                    try:
                        way.connect(os.environ["BIOREACTOR_SOCKET"])
                        way.sendall(text)
                        return way.recv(100)
                    except OSError:
                        time.sleep(0.01)
        print(ask(b"first"))
        sys.stdin.close()
        print(ask(b"second"))
        print(sorted(os.listdir("/run/bioreactor")))
        """
    )

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"answer to " + await reader.read(100))
        writer.close()
        served.set()

    for _ in range(2):
        served = asyncio.Event()
        bench.paths.socket.unlink(missing_ok=True)
        with socket_address(bench.paths.socket) as address:
            server = await asyncio.start_unix_server(answer, address)
        bench.paths.socket.chmod(0o666)
        async with asyncio.timeout(10):
            await served.wait()
        server.close()
    _, output = await bench.finish(container)
    assert output == "b'answer to first'\nb'answer to second'\n['gateway.sock']\n"


def _mount_flags(directory: Path) -> set[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    (mount,) = (line for line in lines if f" {directory} " in line)
    return set(mount.split()[5].split(","))


def _own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
