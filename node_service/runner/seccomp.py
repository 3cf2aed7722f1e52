"""The system calls that an experiment may make, for Docker and for bubblewrap alike.

`seccomp.json` is an allow-list in Docker's format. Docker takes it as it is; bubblewrap wants the
compiled filter, which libseccomp makes from the same file.
"""

import ctypes
import ctypes.util
import json
import os
import platform
from functools import cache
from pathlib import Path
from typing import Any, Final

from node_service.runner.interface import RunnerError

PROFILE: Final = Path(__file__).with_name("seccomp.json")

_ARCHITECTURES: Final = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_EPERM: Final = 1
_COMPARE: Final = {"SCMP_CMP_EQ": 4, "SCMP_CMP_MASKED_EQ": 7}
_UNKNOWN_SYSCALL: Final = -1


@cache
def profile() -> str:
    """Return the profile as the engine takes it."""
    return json.dumps(_load(), separators=(",", ":"))


def compiled() -> int:
    """Return an open descriptor of a memory file with the profile for the kernel.

    Raises:
        RunnerError: libseccomp is missing, or the machine is of a kind the profile does not know.
    """
    library = _library()
    document = _load()
    known = {entry["architecture"] for entry in document["archMap"]}
    machine = platform.machine()
    if _ARCHITECTURES.get(machine) not in known:
        raise RunnerError(f"there is no system call profile for {machine} machines")
    context = library.seccomp_init(ctypes.c_uint32(_ERRNO | _EPERM))
    if not context:
        raise RunnerError("libseccomp cannot make a filter")
    try:
        for rule in document["syscalls"]:
            _add(library, context, rule)
        descriptor = os.memfd_create("seccomp")
        _check(library.seccomp_export_bpf(ctypes.c_void_p(context), descriptor))
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor
    finally:
        library.seccomp_release(ctypes.c_void_p(context))


class _Comparison(ctypes.Structure):
    """One condition on an argument: libseccomp's ``struct scmp_arg_cmp``."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


def _add(library: ctypes.CDLL, context: int, rule: dict[str, Any]) -> None:
    action = _ALLOW if rule["action"] == "SCMP_ACT_ALLOW" else _ERRNO | rule["errnoRet"]
    comparisons = [
        _Comparison(part["index"], _COMPARE[part["op"]], part["value"], part["valueTwo"])
        for part in rule.get("args", ())
    ]
    conditions = (_Comparison * len(comparisons))(*comparisons)
    for name in rule["names"]:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number == _UNKNOWN_SYSCALL:
            continue  # newer than this libseccomp: stays forbidden
        result = library.seccomp_rule_add_array(
            ctypes.c_void_p(context),
            ctypes.c_uint32(action),
            ctypes.c_int(number),
            ctypes.c_uint(len(comparisons)),
            conditions,
        )
        if number >= 0:  # a negative one is a call of other machines
            _check(result)


def _check(result: int) -> None:
    if result < 0:
        raise RunnerError(f"libseccomp refused the profile: {os.strerror(-result)}")


@cache
def _load() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(PROFILE.read_text())
    return document


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError as error:
        raise RunnerError(
            "libseccomp is missing", "install it: apt-get install libseccomp2"
        ) from error
    library.seccomp_init.restype = ctypes.c_void_p
    return library
