"""Keeps freed memory in the process while training on the CPU.

By default glibc gives every large tensor back to the system and gets it anew, zeroed page by page:
of the CPU time of MobileNetV2's forward pass, 30 to 67 % were spent in the kernel for it.
"""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # from glibc's malloc.h
_LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> None:
    """Tell glibc's allocator to reuse large blocks; does nothing where there is no glibc."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT)
