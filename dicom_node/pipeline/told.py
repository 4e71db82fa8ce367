"""What one revision of a report says of the orders; kept in its document, and read again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from dicom_node.pipeline.reconcile_orders import StudyStanding
from dicom_node.report.content import ReportProposal
from inference.accessions import AccessionVerdict, proposal_from_json
from inference.types import ImageVerdict
from storage.states import ProposalState

_KEY = "told"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """How the accessions of a study stood to their orders when a revision was written."""

    accessions: tuple[AccessionVerdict, ...] = ()
    verdicts: Mapping[int, ImageVerdict] = field(default_factory=dict)
    """By the image's row, in place of those by the headers alone."""

    proposals: tuple[ReportProposal, ...] = ()


def told_now(standing: StudyStanding) -> Told:
    """Return what a report that is written now says."""
    return Told(
        accessions=standing.accessions,
        verdicts=standing.verdicts,
        proposals=tuple(
            ReportProposal(
                number=row.id,
                accepted=row.state is ProposalState.ACCEPTED,
                proposal=proposal_from_json(row.document),
            )
            for row in standing.proposals
        ),
    )


def with_told(document: dict[str, Any], told: Told) -> dict[str, Any]:
    """Return a report's document with `told` in it, as JSON types only."""
    return {**document, _KEY: _TOLD.dump_python(told, mode="json")}


def told_of(document: dict[str, Any]) -> Told:
    """Return what the revision with this document said; nothing where it was not kept."""
    return _TOLD.validate_python(document.get(_KEY, {}))


_TOLD = TypeAdapter(Told)
