"""What became of one object at one destination (pure)."""

from enum import StrEnum


class Outcome(StrEnum):
    """What became of one object at one destination."""

    PENDING = "pending"
    DELIVERED = "delivered"
    WARNING = "warning"
    """Stored, with a remark (DIMSE Bxxx and 0111H, STOW-RS 202)."""

    REFUSED = "refused"
    """Will not be stored however often it is sent (SOP class, identity conflict)."""

    FAILED = "failed"
    """Not stored this time (out of resources, link lost); try again."""
