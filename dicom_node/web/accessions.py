"""``/api/accessions``: how accessions stand, what is proposed, and a person's word on it.

Every answer names patients' orders, so every request needs the bearer token, and nothing
may be cached.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from audit.errors import NodeError, Rejected, Transient
from dicom_node.config.accession import AccessionSettings
from dicom_node.correction.port import CorrectionPreview
from dicom_node.orders.decide import Decide, Decided
from dicom_node.orders.views import SIDES, accession_view, proposal_view
from dicom_node.web.bearer import bearer_required, token_of
from dicom_node.web.problems import Problem
from inference.accessions import Standing
from storage import checks, proposals
from storage.proposals import NoSuchProposal
from storage.session import Database
from storage.states import IllegalTransition, ProposalState

Limit = Annotated[int, Query(ge=1, le=1000)]
ProposalId = Annotated[int, Path(ge=1, lt=2**63)]


class Decision(BaseModel):
    """What a person says of a proposal."""

    model_config = ConfigDict(extra="forbid")

    actor: Annotated[str, Field(min_length=1, max_length=128, pattern=r"\S")]
    """Who decides: recorded in the audit, and in a rejection note."""

    note: Annotated[str, Field(max_length=2000)] = ""
    dry_run: bool = False
    """True tells what accepting would send, and does nothing."""


def accessions_router(
    database: Database, decide: Decide, settings: AccessionSettings
) -> APIRouter | None:
    """Return the routes; None where no token is configured, and nothing is served.

    Raises
    ------
    InvalidConfiguration
        The token file cannot be read, or is empty.
    """
    if settings.api_token_file is None:
        return None
    token = token_of(settings.api_token_file, "accession.api_token_file")
    router = APIRouter(prefix="/accessions", dependencies=[Depends(bearer_required(token))])
    _add_reading(router, database)
    _add_deciding(router, decide)
    return router


def _add_reading(router: APIRouter, database: Database) -> None:
    @router.get("")
    def accessions(
        standing: Annotated[list[Standing] | None, Query()] = None,
        accession_number: str = "",
        limit: Limit = 100,
    ) -> JSONResponse:
        with _problems(), database.reading() as connection:
            rows = checks.listing(
                connection,
                verdicts=[each.value for each in standing or ()],
                accession_number=accession_number,
                limit=limit,
            )
        return _answer({"accessions": [accession_view(row) for row in rows], "sides": SIDES})

    @router.get("/proposals")
    def listing(state: ProposalState | None = None, limit: Limit = 100) -> JSONResponse:
        with _problems(), database.reading() as connection:
            rows = proposals.listing(connection, state=state, limit=limit)
        return _answer({"proposals": [proposal_view(row) for row in rows]})

    @router.get("/proposals/{proposal_id}")
    def show(proposal_id: ProposalId) -> JSONResponse:
        with _problems(), database.reading() as connection:
            row = proposals.get(connection, proposal_id)
        return _answer(proposal_view(row))


def _add_deciding(router: APIRouter, decide: Decide) -> None:
    @router.post("/proposals/{proposal_id}/accept")
    def accept(proposal_id: ProposalId, decision: Decision) -> JSONResponse:
        with _problems():
            if decision.dry_run:
                return _answer(_preview(decide, decide.preview(proposal_id), proposal_id))
            decided = decide.accept(proposal_id, actor=decision.actor, note=decision.note)
        return _answer(_decided(decided))

    @router.post("/proposals/{proposal_id}/reject")
    def reject(proposal_id: ProposalId, decision: Decision) -> JSONResponse:
        with _problems():
            if decision.dry_run:
                return _answer(_preview(decide, None, proposal_id))
            decided = decide.reject(proposal_id, actor=decision.actor, note=decision.note)
        return _answer(_decided(decided))


def _preview(decide: Decide, preview: CorrectionPreview | None, number: int) -> dict[str, Any]:
    return {
        "dry_run": True,
        "proposal": proposal_view(decide.get(number)),
        "would_send": preview.to_json() if preview is not None else None,
    }


def _decided(decided: Decided) -> dict[str, Any]:
    mended = decided.mended
    return {
        "proposal": proposal_view(decided.proposal),
        "correction": None
        if mended is None
        else {
            "correction_id": mended.correction_id,
            "destinations": list(mended.destinations),
            "objects": mended.objects,
        },
    }


def _answer(document: dict[str, Any]) -> JSONResponse:
    return JSONResponse(document, headers={"Cache-Control": "no-store"})


@contextmanager
def _problems() -> Iterator[None]:
    """Turn the node's errors into problem documents."""
    try:
        yield
    except NodeError as error:
        raise Problem(_status(error), str(error)) from error


def _status(error: NodeError) -> HTTPStatus:
    if isinstance(error, NoSuchProposal):
        return HTTPStatus.NOT_FOUND
    if isinstance(error, (IllegalTransition, Rejected, proposals.StaleProposal)):
        return HTTPStatus.CONFLICT
    if isinstance(error, Transient):
        return HTTPStatus.SERVICE_UNAVAILABLE
    return HTTPStatus.INTERNAL_SERVER_ERROR
