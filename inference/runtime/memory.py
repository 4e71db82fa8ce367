"""Keep freed memory for the next step instead of handing it back to the system."""

import ctypes

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
"""Parameters of ``mallopt(3)``."""

_KEEP_BELOW_BYTES = 2**30


def keep_freed_memory() -> bool:
    """Have the C library keep blocks that the process frees.

    A network asks for the same large blocks at every step. glibc returns each to the system when
    it is freed, and the page faults of the next step then cost as much as the arithmetic. The
    price is that the process stays as large as it was at its largest. In glibc this holds for
    blocks of up to 1 GiB in the main thread, and of less than 64 MiB in the others.

    Returns
    -------
    bool
        False where the C library cannot be told so.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(
        mallopt(_MMAP_THRESHOLD, _KEEP_BELOW_BYTES) and mallopt(_TRIM_THRESHOLD, _KEEP_BELOW_BYTES)
    )
