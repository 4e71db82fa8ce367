"""How long to wait before trying again (pure)."""

from dicom_node.config.settings import RetrySettings

_MOST_DOUBLINGS = 60


def delay_s(attempt: int, settings: RetrySettings, random: float) -> float:
    """Return the wait after a failed attempt: exponential, bounded, with equal jitter.

    Half of the wait is certain, so that a peer in trouble gets its rest; the other half is
    random, so that many objects that failed together do not come back together.

    Parameters
    ----------
    attempt : int
        The attempt that failed; the first is 1.
    settings : RetrySettings
        First and longest delay, in seconds.
    random : float
        Uniform in [0, 1).

    Returns
    -------
    float
        Seconds: at least half of ``min(first * 2 ** (attempt - 1), maximum)``, at most
        the whole of it.

    Raises
    ------
    ValueError
        When `attempt` or `random` is out of range.
    """
    if attempt < 1:
        raise ValueError("attempts are counted from 1")
    if not 0.0 <= random < 1.0:
        raise ValueError("random must lie in [0, 1)")
    doublings = min(attempt - 1, _MOST_DOUBLINGS)
    longest = min(settings.first_delay_s * 2.0**doublings, settings.maximum_delay_s)
    return longest * (0.5 + random / 2)
