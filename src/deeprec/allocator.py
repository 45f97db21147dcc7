"""How the C library keeps the memory that a computation frees."""

from __future__ import annotations

import ctypes
import functools
import os

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of mallopt (malloc.h of the GNU C library)
_LARGEST = 2**30  # bytes: what is larger comes from the system each time, and goes back to it
_KEPT = 2**31 - 1  # bytes of free memory on top of the heap, at most: the largest number that mallopt takes


@functools.cache
def keep_freed_memory() -> bool:
    """Let this process use again what it freed, in place of giving it back to the system; whether that is so now.

    The GNU C library gets each block of 32 MB and more from the system anew, which has to empty every page
    before it is touched: with the logits of a large vocabulary that was a quarter of a training step. Where
    another C library allocates, or the environment says how (MALLOC_...), everything stays as it is.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # no such function here; Windows takes no None
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT))
