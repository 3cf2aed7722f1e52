"""The profile is an allow-list that stays one."""

import json
import os

from node_service.runner import seccomp

FORBIDDEN = {
    "acct", "add_key", "bpf", "chroot", "clone3", "delete_module", "fanotify_init",
    "finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "init_module", "io_uring_enter",
    "io_uring_register", "io_uring_setup", "ioperm", "iopl", "kcmp", "kexec_file_load",
    "kexec_load", "keyctl", "lookup_dcookie", "mount", "mount_setattr", "move_mount",
    "move_pages", "nfsservctl", "open_by_handle_at", "open_tree", "perf_event_open",
    "personality", "pidfd_getfd", "pivot_root", "process_madvise", "process_vm_readv",
    "process_vm_writev", "ptrace", "quotactl", "reboot", "request_key", "setdomainname",
    "sethostname", "setns", "settimeofday", "swapoff", "swapon", "syslog", "umount", "umount2",
    "unshare", "userfaultfd", "uselib", "ustat", "vhangup", "vm86", "socketcall",
}  # fmt: skip


def test_nothing_forbidden_is_allowed() -> None:
    profile = json.loads(seccomp.profile())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    allowed = [rule for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW"]
    names = {name for rule in allowed for name in rule["names"]}
    assert not names & FORBIDDEN
    for name in ("socket", "socketpair", "clone"):
        assert all(rule.get("args") for rule in allowed if name in rule["names"])
    for architecture in profile["archMap"]:
        assert architecture["subArchitectures"] == []


def test_sockets_are_local_or_plain() -> None:
    """Unix, and TCP and UDP: no other family, kind or protocol."""
    rules = [
        rule for rule in json.loads(seccomp.profile())["syscalls"] if "socket" in rule["names"]
    ]
    assert {rule["args"][0]["value"] for rule in rules} == {1, 2, 10}
    for rule in rules:
        family, *others = rule["args"]
        assert family["op"] == "SCMP_CMP_EQ"
        if family["value"] != 1:
            kind, protocol = others
            assert (kind["op"], kind["value"]) == ("SCMP_CMP_MASKED_EQ", 15)
            assert (kind["valueTwo"], protocol["value"]) in {(1, 0), (1, 6), (2, 0), (2, 17)}


def test_it_compiles_for_the_kernel() -> None:
    descriptor = seccomp.compiled()
    try:
        size = os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
    assert size > 500
    assert size % 8 == 0
