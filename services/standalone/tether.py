"""Runs a command that dies with its parent: `tether.py PARENT_PID NICENESS COMMAND…`.

A supervisor that is killed with -9 cannot clean up, so the kernel does: the parent-death signal
survives exec. Run by path with `python -I -S`, so it imports nothing but the standard library.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, niceness, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    os.nice(niceness)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        # The parent died before the kernel knew of our wish.
        sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
