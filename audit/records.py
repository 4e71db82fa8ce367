"""What the audit says: one constructor for each kind of record.

Names and birth dates never enter a record. A patient and an order appear as pseudonyms
(`audit.pseudonym`); the DICOM UIDs stay, for they are what ties a record to the archive.
The values come in as plain mappings, because this package knows no other.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from audit.chain import canonical
from audit.entries import Entry, Node, RecordKind, Subject, WrittenObject

BY_HEADER = "header"
"""What an image was compared with: what its own header says was ordered."""

BY_ORDERS = "orders"
"""The same: every order of the patient's days that is known, from whatever source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Makes records in the name of one node."""

    node: Node

    def prediction(
        self,
        *,
        instance_id: int,
        subject: Subject,
        trigger: str,
        correlation_id: str,
        calling_ae_title: str,
        region_table_sha256: str,
        prediction: Mapping[str, Any],
        recorded_at: datetime,
        verdict: Mapping[str, Any] | None = None,
        notes: Iterable[str] = (),
        parked_attempt: int | None = None,
    ) -> Entry:
        """Record one model on one image.

        Parameters
        ----------
        instance_id : int
            Row of the instance; with the model's hashes it makes the key.
        subject : Subject
        trigger : str
            Why the model ran: the route's name, ``replay``, …
        correlation_id : str
            What the log calls the study.
        calling_ae_title : str
            Who sent the image; empty where it came by HTTP.
        region_table_sha256 : str
            Of the table that turned words and labels into regions for the verdict.
        prediction : mapping
            `inference.types.Prediction` as JSON: model identity, outcome, every label
            with logit, probability, threshold and decision. Heat maps are recorded by
            their sha256 (of their canonical JSON); the values stay with the result.
        recorded_at : datetime
        verdict : mapping, optional
            `inference.types.ImageVerdict` as JSON, with the prediction that it rests on:
            expected, seen, verdict, and ``compared_with``: `BY_HEADER`, for orders are asked
            when the study has settled (`accession_checked`).
        notes : iterable of str
            Stable codes of what was unusual about the image.
        parked_attempt : int, optional
            The attempt after which the analysis was given up; such a record has a key of
            its own, for the prediction may still come when a person asks for it.
        """
        model = prediction["model"]
        body = {
            "subject": asdict(subject),
            "trigger": trigger,
            "correlation_id": correlation_id,
            "calling_ae_title": calling_ae_title,
            "region_table_sha256": region_table_sha256,
            "model": dict(model),
            "outcome": prediction["outcome"],
            "reason_code": prediction["reason_code"],
            "reason": prediction["reason"],
            "labels": list(prediction["labels"]),
            "heat_maps": [
                {"key": heat["key"], "method": heat["method"], "sha256": _sha256(heat)}
                for heat in prediction["heat_maps"]
            ],
            "tensor_sha256": prediction["tensor_sha256"],
            "started_at": prediction["started_at"],
            "duration_ms": prediction["duration_ms"],
            "notes": list(notes),
            "verdict": dict(verdict) if verdict is not None else None,
        }
        key = prediction_key(instance_id, model)
        if parked_attempt is not None:
            key += f":parked:{parked_attempt}"
        return self._entry(RecordKind.PREDICTION, key, recorded_at, body)

    def instance_received(
        self,
        *,
        instance_id: int,
        subject: Subject,
        caller: Mapping[str, str],
        receipt: str,
        route: str,
        recorded_at: datetime,
    ) -> Entry:
        """Record that a new image, or new bytes under a known UID, were stored.

        Parameters
        ----------
        caller : mapping
            ``calling_ae_title``, ``called_ae_title``, ``address``, ``protocol``.
        receipt : str
            ``stored``, ``revision``, or ``patient_conflict`` for an image that names
            another patient than the study that it came under.
        route : str
            The route that took it; empty where none did.
        """
        body = {
            "subject": asdict(subject),
            "caller": dict(caller),
            "outcome": receipt,
            "route": route,
        }
        key = f"receive:{instance_id}"
        return self._entry(RecordKind.INSTANCE_RECEIVED, key, recorded_at, body)

    def report_written(
        self,
        *,
        study_id: int,
        revision: int,
        subject: Subject,
        objects: Iterable[WrittenObject],
        sources: Iterable[str],
        predecessor: str,
        recorded_at: datetime,
    ) -> Entry:
        """Record a report revision: its objects, and what it rests on.

        Parameters
        ----------
        sources : iterable of str
            Keys of the records of the predictions that the report speaks of.
        predecessor : str
            SOP Instance UID of the SR that this one follows; empty for the first.
        """
        body = {
            "subject": asdict(subject),
            "report_revision": revision,
            "objects": [asdict(written) for written in objects],
            "predictions": sorted(sources),
            "predecessor_sop_instance_uid": predecessor,
            "outcome": "written",
        }
        key = f"report:{study_id}:{revision}"
        return self._entry(RecordKind.REPORT_WRITTEN, key, recorded_at, body)

    def accession_checked(
        self,
        *,
        check_key: str,
        subject: Subject,
        standing: str,
        images: Mapping[str, str],
        order: Mapping[str, Any],
        recorded_at: datetime,
    ) -> Entry:
        """Record how an accession stands to its order.

        Parameters
        ----------
        check_key : str
            Names the accession by the numbers of its rows.
        images : mapping
            SOP Instance UID to the image's own standing.
        order : mapping
            What was compared with: source, regions, missing regions, cancelled, stale.
        """
        body = {
            "subject": asdict(subject),
            "check": check_key,
            "outcome": standing,
            "compared_with": BY_ORDERS,
            "images": dict(images),
            "order": dict(order),
        }
        key = f"accession:{check_key}:{recorded_at.isoformat()}"
        return self._entry(RecordKind.ACCESSION_CHECKED, key, recorded_at, body)

    def proposal_changed(
        self,
        *,
        proposal_id: int,
        change: str,
        kind: str,
        actor: str,
        subject: Subject,
        moves: Iterable[Mapping[str, Any]],
        recorded_at: datetime,
    ) -> Entry:
        """Record that a proposal became ``open``, ``superseded``, ``accepted`` or
        ``rejected``; `actor` is ``node`` where no person did it.

        Parameters
        ----------
        moves : iterable of mapping
            Of each image: its SOP Instance UID, the pseudonyms of the accessions it would
            leave and enter, the region seen, its probability, and the margin.
        """
        body = {
            "subject": asdict(subject),
            "proposal_id": proposal_id,
            "outcome": change,
            "kind": kind,
            "actor": actor,
            "moves": [dict(move) for move in moves],
        }
        key = f"proposal:{proposal_id}:{change}:{recorded_at.isoformat()}"
        return self._entry(RecordKind.PROPOSAL_CHANGED, key, recorded_at, body)

    def correction_written(
        self,
        *,
        proposal_id: int,
        actor: str,
        subject: Subject,
        objects: Iterable[WrittenObject],
        replaced: Iterable[str],
        destinations: Iterable[str],
        recorded_at: datetime,
    ) -> Entry:
        """Record the package that mends a proposal: on whose word, its objects, and the SOP
        Instance UIDs of the images that it takes out of use."""
        body = {
            "subject": asdict(subject),
            "proposal_id": proposal_id,
            "actor": actor,
            "objects": [asdict(written) for written in objects],
            "replaced_sop_instance_uids": sorted(replaced),
            "destinations": sorted(destinations),
            "outcome": "written",
        }
        key = f"correction:{proposal_id}"
        return self._entry(RecordKind.CORRECTION_WRITTEN, key, recorded_at, body)

    def delivery(
        self,
        *,
        delivery_id: str,
        attempt: int,
        subject: Subject,
        destination: str,
        outcome: str,
        status: str,
        sha256: str,
        recorded_at: datetime,
    ) -> Entry:
        """Record what a destination answered for one object in one attempt.

        `subject.sop_instance_uid` is the object's own; `status` the peer's answer, such
        as ``A700H`` or ``HTTP 409``.
        """
        body = {
            "subject": asdict(subject),
            "destination": destination,
            "attempt": attempt,
            "outcome": outcome,
            "status": status,
            "sha256": sha256,
        }
        key = f"deliver:{delivery_id}:{attempt}"
        return self._entry(RecordKind.DELIVERY, key, recorded_at, body)

    def job_changed(
        self,
        *,
        job_key: str,
        attempt: int,
        change: str,
        actor: str,
        error_code: str,
        recorded_at: datetime,
        subject: Subject,
    ) -> Entry:
        """Record that a job was ``parked``, ``redriven`` or ``discarded``, and by whom."""
        body = {
            "subject": asdict(subject),
            "job_key": job_key,
            "attempt": attempt,
            "outcome": change,
            "actor": actor,
            "error_code": error_code,
        }
        key = f"job:{job_key}:{attempt}:{change}"
        return self._entry(RecordKind.JOB_CHANGED, key, recorded_at, body)

    def configuration_loaded(
        self, *, configuration_sha256: str, executor_id: str, recorded_at: datetime
    ) -> Entry:
        """Record which configuration a process started with."""
        body = {"configuration_sha256": configuration_sha256, "executor_id": executor_id}
        key = f"configuration:{executor_id}:{configuration_sha256}:{recorded_at.isoformat()}"
        return self._entry(RecordKind.CONFIGURATION_LOADED, key, recorded_at, body)

    def model_loaded(
        self, *, model: Mapping[str, Any], executor_id: str, recorded_at: datetime
    ) -> Entry:
        """Record a model that a process loaded: `inference.types.ModelIdentity` as JSON."""
        body = {"model": dict(model), "executor_id": executor_id}
        key = f"model:{executor_id}:{model['name']}:{recorded_at.isoformat()}"
        return self._entry(RecordKind.MODEL_LOADED, key, recorded_at, body)

    def access(
        self, *, actor: str, action: str, query: Mapping[str, Any], recorded_at: datetime
    ) -> Entry:
        """Record that `actor` did ``read``, ``export`` or ``verify`` on the audit itself."""
        body = {"actor": actor, "outcome": action, "query": dict(query)}
        key = f"access:{_sha256(body)}:{recorded_at.isoformat()}"
        return self._entry(RecordKind.ACCESS, key, recorded_at, body)

    def _entry(
        self, kind: RecordKind, key: str, recorded_at: datetime, body: dict[str, Any]
    ) -> Entry:
        body["node"] = asdict(self.node)
        return Entry(kind=kind, key=key, recorded_at=recorded_at, body=body)


def prediction_key(instance_id: int, model: Mapping[str, Any]) -> str:
    """Return the key of the one record of (instance, model, weights, configuration)."""
    parts = (model["name"], model["weights_sha256"], model["configuration_sha256"])
    return ":".join(("predict", str(instance_id), *parts))


def _sha256(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(document).encode()).hexdigest()
