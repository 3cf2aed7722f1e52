"""Run as a program: become another program that dies with its parent.

``python tether.py PARENT_PID SIGNAL USER PROGRAM [ARGUMENT…]``, where USER is ``uid:gid`` or ``-``.
Standard library only; nothing of ours is imported, so that it starts in some ten milliseconds. No
Python runs between fork and exec of the parent, which may have threads. See `broker.children`.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Change the user, ask the kernel for the signal, see that the parent still lives, exec."""
    parent, number, user, *command = sys.argv[1:]
    if user != "-":  # first: the kernel forgets the signal when the user changes
        uid, gid = (int(part) for part in user.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(number)) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != int(parent):
        sys.exit("the parent died before its child was tethered to it")
    try:
        os.execvp(command[0], command)  # noqa: S606  no shell on purpose
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
