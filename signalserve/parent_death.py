"""A child that is told to stop when its parent is gone, however that ended: kill -9 leaves it no time to do so.

Linux only; elsewhere a killed launcher leaves its children behind.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h

if sys.platform == "linux":
    _prctl = ctypes.CDLL(None).prctl  # found here: between fork and exec nothing should be loaded
    _prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]


def stop_with(parent: int) -> None:
    """Have the kernel send SIGTERM to this process once its parent has ended; it stays so across exec.

    To be called between fork and exec, or by the child first of all. parent: the pid that forked.

    The kernel takes for the parent the *thread* that forked: one that ends before its process takes the child along, so
    children are started from a thread that lasts. All of them get the signal at the same moment; a reader may then end
    before the writer whose files it reads.
    """
    if sys.platform != "linux":
        return
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the parent's handler would swallow it until exec
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the kernel knew
        os._exit(1)
