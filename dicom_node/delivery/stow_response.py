"""Read the answer to a store transaction (PS3.18 Section 10.5.3), object by object (pure)."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from dicom_node.core.outcome import Outcome
from dicom_node.core.status import PROCESSING_FAILURE
from dicom_node.delivery.answers import (
    NOT_ACKNOWLEDGED,
    all_alike,
    http_outcome,
    store_status,
)
from dicom_node.delivery.outcome import SendStatus

FAILED_SOP_SEQUENCE = "00081198"
REFERENCED_SOP_SEQUENCE = "00081199"
_SOP_INSTANCE_UID = "00081155"
_FAILURE_REASON = "00081197"
_WARNING_REASON = "00081196"
_LISTED_CODES = frozenset({200, 202, 409})
"""The statuses that carry a list of instances (PS3.18 Table 10.5.3-1)."""


def read_response(
    sop_instance_uids: Sequence[str], status_code: int, body: bytes
) -> list[SendStatus]:
    """Return one status for each object that was sent, in order.

    Only the list of instances in the answer says that one was stored. A 2xx without it (a
    log-in page, a part that the server skipped) promises nothing: `NOT_ACKNOWLEDGED`.
    Without a list, any other HTTP status decides for all alike.
    """
    module = _parse(body) if status_code in _LISTED_CODES else {}
    stored = _items(module, REFERENCED_SOP_SEQUENCE)
    failed = _items(module, FAILED_SOP_SEQUENCE)
    if not stored and not failed and not _is_success(status_code):
        return all_alike(sop_instance_uids, http_outcome(status_code), f"HTTP {status_code}")
    return [_one(uid, stored, failed, status_code) for uid in sop_instance_uids]


def _is_success(status_code: int) -> bool:
    return HTTPStatus.OK <= status_code < HTTPStatus.MULTIPLE_CHOICES


def _one(
    uid: str,
    stored: Mapping[str, Mapping[str, Any]],
    failed: Mapping[str, Mapping[str, Any]],
    status_code: int,
) -> SendStatus:
    if uid in failed:
        reason = _number(failed[uid], _FAILURE_REASON)
        status = store_status(uid, PROCESSING_FAILURE if reason is None else reason)
        if status.outcome in (Outcome.DELIVERED, Outcome.WARNING):
            # A list of failures that names a success: believe the list, not the number.
            return SendStatus(sop_instance_uid=uid, outcome=Outcome.FAILED, status=status.status)
        return status
    if uid not in stored:
        return SendStatus(sop_instance_uid=uid, outcome=Outcome.FAILED, status=NOT_ACKNOWLEDGED)
    warning = _number(stored[uid], _WARNING_REASON)
    if warning:
        return SendStatus(sop_instance_uid=uid, outcome=Outcome.WARNING, status=f"{warning:04X}H")
    return SendStatus(sop_instance_uid=uid, outcome=Outcome.DELIVERED, status=f"HTTP {status_code}")


def _parse(body: bytes) -> Mapping[str, Any]:
    """Return the DICOM JSON object in `body`; empty when it is anything else."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if isinstance(document, list) and len(document) == 1:  # some servers wrap it
        document = document[0]
    return document if isinstance(document, dict) else {}


def _items(module: Mapping[str, Any], tag: str) -> dict[str, Mapping[str, Any]]:
    """Return the items of a sequence by their Referenced SOP Instance UID."""
    found: dict[str, Mapping[str, Any]] = {}
    for item in _values(module, tag):
        uids = _values(item, _SOP_INSTANCE_UID) if isinstance(item, dict) else []
        if len(uids) == 1 and isinstance(uids[0], str):
            found[uids[0]] = item
    return found


def _values(module: Mapping[str, Any], tag: str) -> list[Any]:
    element = module.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _number(item: Mapping[str, Any], tag: str) -> int | None:
    values = _values(item, tag)
    try:
        return int(values[0]) if values else None
    except (TypeError, ValueError, OverflowError):
        return None
