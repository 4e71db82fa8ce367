"""The life of a job and of a study. Every transition the node may make is in this file.

A job is one piece of work that must be done once: analyse an instance, write a report
revision, deliver a report to one destination. Rule 1: no other module decides whether a
state may change. Rule 2: nothing here knows about time, threads, SQL or DICOM.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from audit.errors import Fault


class IllegalTransition(Fault):
    """A job was asked to enter a state that its present state does not lead to."""

    code = "storage.state.illegal"


class JobKind(StrEnum):
    """What a job does; also the name of its queue."""

    ANALYSE = "analyse"
    REPORT = "report"
    DELIVER = "deliver"


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    """Waiting, running, or waiting for its next attempt."""

    DONE = "done"
    PARKED = "parked"
    """Given up after its last attempt; a person re-drives or discards it."""

    DISCARDED = "discarded"
    """A person decided that it need not be done."""


ALLOWED: Mapping[JobState, frozenset[JobState]] = MappingProxyType(
    {
        JobState.QUEUED: frozenset({JobState.QUEUED, JobState.DONE, JobState.PARKED}),
        JobState.PARKED: frozenset({JobState.QUEUED, JobState.DISCARDED}),
        JobState.DONE: frozenset(),
        JobState.DISCARDED: frozenset(),
    }
)


def check(current: JobState, wanted: JobState) -> JobState:
    """Return `wanted`.

    Raises
    ------
    IllegalTransition
        When the table does not allow the step.
    """
    if wanted not in ALLOWED[current]:
        raise IllegalTransition(f"{current} -> {wanted}")
    return wanted
