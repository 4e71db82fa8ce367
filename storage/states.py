"""The life of a job and of a proposal. Every transition the node may make is in this file.

A job is one piece of work that must be done once: analyse an instance, write a report
revision, deliver a report to one destination. A proposal says where misfiled images
belong, and waits for a person. Rule 1: no other module decides whether a
state may change. Rule 2: nothing here knows about time, threads, SQL or DICOM.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from audit.errors import Fault


class IllegalTransition(Fault):
    """A job or proposal was asked to enter a state that its present one does not lead to."""

    code = "storage.state.illegal"


class JobKind(StrEnum):
    """What a job does; also the name of its queue."""

    ANALYSE = "analyse"
    REPORT = "report"
    DELIVER = "deliver"
    RECONCILE = "reconcile"
    """Compare a patient's images with the orders again, because an order changed."""

    CORRECT = "correct"
    """Send the correction package of an accepted proposal."""

    NOTIFY = "notify"
    """Tell the people whom the site named of a proposal."""


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


class ProposalState(StrEnum):
    """Where a proposal stands."""

    OPEN = "open"
    ACCEPTED = "accepted"
    """A person agreed; correction, where it is configured, has begun."""

    REJECTED = "rejected"
    """A person disagreed; the same proposal is never made again."""

    SUPERSEDED = "superseded"
    """What is known now no longer leads to it; it opens again when it does."""


PROPOSAL_ALLOWED: Mapping[ProposalState, frozenset[ProposalState]] = MappingProxyType(
    {
        ProposalState.OPEN: frozenset(
            {ProposalState.ACCEPTED, ProposalState.REJECTED, ProposalState.SUPERSEDED}
        ),
        ProposalState.SUPERSEDED: frozenset({ProposalState.OPEN}),
        ProposalState.ACCEPTED: frozenset(),
        ProposalState.REJECTED: frozenset(),
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


def check_proposal(current: ProposalState, wanted: ProposalState) -> ProposalState:
    """Return `wanted`; raises as `check`."""
    if wanted not in PROPOSAL_ALLOWED[current]:
        raise IllegalTransition(f"{current} -> {wanted}")
    return wanted
