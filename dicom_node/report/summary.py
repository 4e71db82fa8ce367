"""The report as JSON, for the database, the command line and the demonstration (pure)."""

from typing import Any

from dicom_node.report.content import ReportImage, ReportRequest
from dicom_node.report.evidence import text_of
from dicom_node.report.reading import decoded, failed, findings, region
from dicom_node.report.wording import (
    WARNING,
    accession_line,
    body_part_sentence,
    findings_sentences,
    overall_sentence,
)
from inference.accessions import AccessionVerdict
from inference.types import Decision, Outcome, Verdict


def summary_document(request: ReportRequest) -> dict[str, Any]:
    """Return the report as JSON types only.

    Its ``images`` hold one object for each image in the order of their numbers: number,
    sop_instance_uid, accession_number, decoded, expected, seen, verdict, sentence,
    findings, findings_sentences, not_run. `verdict` is null where the body part was not
    checked. ``counts`` adds them up. ``accessions`` say how they stand to their orders, and
    ``proposals`` where images may belong instead.
    """
    return {
        "study_instance_uid": request.study_instance_uid,
        "revision": request.revision,
        "created_at": request.created_at.isoformat(),
        "warning": WARNING,
        "sentence": overall_sentence(request),
        "counts": _counts(request),
        "images": [_image(image, request) for image in request.images],
        "accessions": [_accession(verdict) for verdict in request.accessions],
        "proposals": [
            {
                "number": each.number,
                "kind": each.proposal.kind.value,
                "accepted": each.accepted,
                "margin": each.proposal.margin,
                "sentence": each.proposal.sentence,
            }
            for each in request.proposals
        ],
    }


def _accession(verdict: AccessionVerdict) -> dict[str, Any]:
    return {
        "accession_number": verdict.accession.accession_number,
        "issuer": verdict.accession.issuer,
        "standing": verdict.standing.value,
        "ordered_by": verdict.expected.source.value if verdict.expected else None,
        "missing": list(verdict.missing),
        "cancelled": verdict.cancelled,
        "stale": verdict.stale,
        "sentence": accession_line(verdict),
    }


def _counts(request: ReportRequest) -> dict[str, int]:
    verdicts = [image.verdict.verdict for image in request.images if image.verdict]
    present = sum(
        finding.output.decision is Decision.PRESENT
        for image in request.images
        for finding in findings(image, request.labels)
    )
    return {
        "images": len(request.images),
        **{verdict.value: verdicts.count(verdict) for verdict in Verdict},
        "not_checked": len(request.images) - len(verdicts),
        "failed": sum(failed(image) for image in request.images),
        "findings_present": present,
    }


def _image(image: ReportImage, request: ReportRequest) -> dict[str, Any]:
    verdict = image.verdict
    expected = verdict.expected if verdict else None
    return {
        "number": image.number,
        "sop_instance_uid": text_of(image.header, "SOPInstanceUID"),
        "accession_number": text_of(image.header, "AccessionNumber"),
        "decoded": decoded(image),
        "expected": [
            {"key": key, "meaning": region(key, request.regions).meaning}
            for key in (expected.regions if expected else ())
        ],
        "expected_from": expected.source.value if expected else None,
        "seen": [
            {
                "key": seen.region,
                "meaning": region(seen.region, request.regions).meaning,
                "probability": seen.probability,
            }
            for seen in (verdict.seen if verdict else ())
        ],
        "verdict": verdict.verdict.value if verdict else None,
        "sentence": body_part_sentence(image, request.regions),
        "findings": [
            {
                "key": finding.output.key,
                "meaning": finding.code.meaning,
                "probability": finding.output.probability,
                "decision": finding.output.decision.value,
            }
            for finding in findings(image, request.labels)
        ],
        "findings_sentences": findings_sentences(image, request.labels),
        "not_run": [
            {
                "model": prediction.model.name,
                "outcome": prediction.outcome.value,
                "reason_code": prediction.reason_code,
                "reason": prediction.reason,
            }
            for prediction in image.analysis.predictions
            if prediction.outcome is not Outcome.PREDICTED
        ],
    }
