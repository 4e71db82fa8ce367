"""The answer to a store transaction: Store Instances Response Module as DICOM JSON (pure).

PS3.18 Section 10.5.3, Annex I.2 (module) and Annex F (JSON).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from audit.errors import NodeError
from dicom_node.core.status import (
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    TRANSFER_SYNTAX_NOT_SUPPORTED,
    dimse_status,
)
from dicom_node.pipeline.part10 import RefusedEncoding


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceResult:
    """What became of one part."""

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    """Empty when the part could not be read so far."""

    failure_reason: int | None = None
    """None: stored."""


def failure_reason(error: NodeError) -> int:
    """Return the Failure Reason (0008,1197) for `error`."""
    if isinstance(error, RefusedEncoding):
        return TRANSFER_SYNTAX_NOT_SUPPORTED
    return dimse_status(error)


def http_status(results: Sequence[InstanceResult]) -> HTTPStatus:
    """Return the status of the whole transaction (PS3.18 Table 10.5.3-1).

    200 all were stored; 202 some; 409 none. None, and every one for want of space or of the
    database, is 503: the request is sound and should come again. None, and every one by our
    own fault, is 500.
    """
    reasons = {result.failure_reason for result in results}
    if reasons <= {None}:
        return HTTPStatus.OK
    if None in reasons:
        return HTTPStatus.ACCEPTED
    if reasons == {OUT_OF_RESOURCES}:
        return HTTPStatus.SERVICE_UNAVAILABLE
    if reasons == {PROCESSING_FAILURE}:
        return HTTPStatus.INTERNAL_SERVER_ERROR
    return HTTPStatus.CONFLICT


def response_module(results: Sequence[InstanceResult]) -> dict[str, Any]:
    """Return the Store Instances Response Module as a DICOM JSON object.

    The node hands no instance out again, so each Retrieve URL (0008,1190; type 2) is empty.
    """
    stored = [_reference(r) for r in results if r.failure_reason is None]
    failed = [
        _reference(r) | _reason(r.failure_reason)
        for r in results
        if r.failure_reason is not None and r.sop_instance_uid
    ]
    other = [
        _reason(r.failure_reason)
        for r in results
        if r.failure_reason is not None and not r.sop_instance_uid
    ]
    for item in stored:
        item["00081190"] = {"vr": "UR"}
    sequences = {"00081198": failed, "00081199": stored, "0008119A": other}
    return {"00081190": {"vr": "UR"}} | {
        tag: {"vr": "SQ", "Value": items} for tag, items in sequences.items() if items
    }


def _reference(result: InstanceResult) -> dict[str, Any]:
    return {
        "00081150": {"vr": "UI", "Value": [result.sop_class_uid]},
        "00081155": {"vr": "UI", "Value": [result.sop_instance_uid]},
    }


def _reason(reason: int) -> dict[str, Any]:
    return {"00081197": {"vr": "US", "Value": [reason]}}
