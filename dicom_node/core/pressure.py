"""How long a C-STORE response waits when the node falls behind (pure)."""


def slowdown_s(waiting: int, limit: int, maximum_s: float) -> float:
    """Return the seconds to hold back the next response.

    Nothing below `limit` waiting images; then a wait that grows in proportion to the
    excess and reaches `maximum_s` at twice the limit. The sender is slowed down to the
    speed of analysis; nothing is refused and no memory grows, for what waits is on disk.
    """
    if waiting <= limit:
        return 0.0
    return min(1.0, (waiting - limit) / limit) * maximum_s
