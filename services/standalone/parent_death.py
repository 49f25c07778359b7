"""Runs a command that dies with its parent: `parent_death.py PARENT_PID NICENESS COMMAND…`.

A supervisor that is killed with -9 cannot clean up, so the kernel does: the parent-death signal
survives exec. Run by path with `python -I -S`, so it imports nothing but the standard library.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15


def die_with(parent: int) -> None:
    """Has the kernel kill this process when `parent` dies; exits if it is dead already."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    # The parent may have died before the kernel knew of our wish.
    if os.getppid() != parent:
        sys.exit("the parent process has already ended")


def name_process(name: str) -> None:
    """Gives this process the name that `top` and `pgrep` show; the kernel keeps 15 bytes."""
    ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode())


def main() -> None:
    parent, niceness, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    os.nice(niceness)
    die_with(parent)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
