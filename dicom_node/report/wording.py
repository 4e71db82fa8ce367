"""The sentences of a report: what a radiologist reads at a glance (pure).

No sentence holds a value from a data set but the accession numbers; regions and findings
are named by the meaning of their codes.
"""

from collections.abc import Mapping

from dicom_node.report.content import ReportImage, ReportProposal, ReportRequest
from dicom_node.report.reading import (
    Finding,
    Labels,
    decoded,
    findings,
    findings_predictions,
    illustrations,
    region,
    withheld,
)
from inference.accessions import AccessionVerdict
from inference.types import (
    Code,
    Decision,
    Expectation,
    ExpectationSource,
    ImageVerdict,
    Outcome,
    Prediction,
    Task,
    Verdict,
)

WARNING = "AI result. Not verified. Not for diagnosis."

_SOURCES = {
    ExpectationSource.WORKLIST: "the worklist",
    ExpectationSource.HL7: "the HL7 order",
    ExpectationSource.REQUESTED_PROCEDURE_CODE: "Requested Procedure Code",
    ExpectationSource.REQUESTED_PROCEDURE_DESCRIPTION: "Requested Procedure Description",
    ExpectationSource.STUDY_DESCRIPTION: "Study Description",
    ExpectationSource.SERIES_DESCRIPTION: "Series Description",
    ExpectationSource.PERFORMED_PROTOCOL: "the performed protocol",
    ExpectationSource.BODY_PART_EXAMINED: "Body Part Examined",
}


def percent(probability: float) -> str:
    """Return a probability in percent; never rounded to certainty."""
    value = 100 * probability
    if probability < 1 and value >= 99.95:
        return "over 99.9 %"
    if probability > 0 and value < 0.05:
        return "under 0.1 %"
    return f"{value:.1f} %"


def summary_lines(request: ReportRequest) -> list[str]:
    """Return the text of the report: warning, verdict, what it replaces, each image, how the
    accessions stand, what is proposed, then the findings."""
    lines = [WARNING, overall_sentence(request)]
    if request.predecessor is not None:
        lines.append(f"Revision {request.revision}: replaces the earlier AI report on this study.")
    lines += [
        f"Image {image.number}: {body_part_sentence(image, request.regions)}"
        for image in request.images
    ]
    lines += [accession_line(verdict) for verdict in request.accessions]
    lines += [proposal_line(proposal) for proposal in request.proposals]
    for image in request.images:
        lines += [
            f"Image {image.number}: {sentence}"
            for sentence in findings_sentences(image, request.labels)
        ]
    return [*lines, *_heat_maps(request)]


def overall_sentence(request: ReportRequest) -> str:
    """Return the verdict on the study, what needs attention first, then what was found."""
    images = request.images
    verdicts = [image.verdict.verdict for image in images if image.verdict is not None]
    undecoded = sum(not decoded(image) for image in images)
    unchecked = sum(image.verdict is None and decoded(image) for image in images)
    counted = (
        (verdicts.count(Verdict.MISMATCH), "does", "do", "not show the ordered body part"),
        (verdicts.count(Verdict.UNCERTAIN), "shows", "show", "an uncertain body part"),
        (undecoded, "could", "could", "not be read"),
        (unchecked, "was", "were", "not checked for the body part"),
        (verdicts.count(Verdict.NOT_DECLARED), "declares", "declare", "no ordered body part"),
        (verdicts.count(Verdict.MATCH), "shows", "show", "the ordered body part"),
    )
    sentences = [
        f"{_share(count, len(images))} {one if count == 1 else many} {rest}."
        for count, one, many, rest in counted
        if count
    ]
    return " ".join([*sentences, *_present(request)])


def _share(count: int, total: int) -> str:
    if total == 1:
        return "The image"
    if count == total:
        return "Both images" if total == 2 else f"All {total} images"
    return f"{count} of {total} images"


def _present(request: ReportRequest) -> list[str]:
    """Return one sentence with every finding present and its images; none where none is."""
    numbers: dict[str, list[int]] = {}
    for image in request.images:
        for finding in findings(image, request.labels):
            if finding.output.decision is Decision.PRESENT:
                numbers.setdefault(finding.code.meaning, []).append(image.number)
    named = [
        f"{meaning} (image{'s' if len(of) > 1 else ''} {', '.join(map(str, of))})"
        for meaning, of in numbers.items()
    ]
    return [f"Findings: {'; '.join(named)}."] if named else []


def _heat_maps(request: ReportRequest) -> list[str]:
    """Return one sentence where the limit left heat maps out."""
    drawn = illustrations(request)
    if not drawn.left_out:
        return []
    return [
        f"Heat maps: only for the {len(drawn.shown)} likeliest of "
        f"{len(drawn.shown) + drawn.left_out} findings; {drawn.left_out} left out."
    ]


def body_part_sentence(image: ReportImage, regions: Mapping[str, Code]) -> str:
    """Return what the body-part check says of one image."""
    verdict = image.verdict
    if verdict is None:
        return f"NOT CHECKED. {_why_not_checked(image)}"
    expected = _expected(verdict.expected, regions)
    seen = _seen(verdict, regions)
    match verdict.verdict:
        case Verdict.MATCH:
            return f"MATCH. {expected}; shows {seen}."
        case Verdict.MISMATCH:
            return f"MISMATCH. {expected}; shows {seen}."
        case Verdict.UNCERTAIN:
            return f"UNCERTAIN. {expected}; most like {seen}."
        case Verdict.NOT_DECLARED:
            return f"NOTHING DECLARED. No order or tag names a body part; shows {seen}."


def accession_line(verdict: AccessionVerdict) -> str:
    """Return how one accession stands to its order."""
    number = verdict.accession.accession_number
    name = f"Accession {number}" if number else "Without accession number"
    word = verdict.standing.value.replace("_", " ").upper()
    stale = " The order could not be confirmed lately." if verdict.stale else ""
    return f"{name}: {word}. {verdict.sentence}{stale}"


def proposal_line(proposal: ReportProposal) -> str:
    """Return where images may belong, and that nothing moves by itself."""
    if proposal.accepted:
        return f"Accepted proposal {proposal.number}: {proposal.proposal.sentence}"
    return (
        f"Proposal {proposal.number}: {proposal.proposal.sentence} Nothing has been moved:"
        " a person decides."
    )


def findings_sentences(image: ReportImage, labels: Labels) -> list[str]:
    """Return what the findings models say of one image; nothing where none was asked."""
    if not decoded(image):
        return []
    sentences = [
        _not_run("Findings model", prediction)
        for prediction in findings_predictions(image)
        if prediction.outcome is not Outcome.PREDICTED
    ]
    found = findings(image, labels)
    if found:
        named = [_named(f) for f in found if f.output.decision is not Decision.ABSENT]
        absent = [f.code.meaning for f in found if f.output.decision is Decision.ABSENT]
        parts = ["; ".join(named) if named else "No finding present"]
        parts += [f"Absent: {', '.join(absent)}"] if absent else []
        not_assessed = [code.meaning for code in withheld(image, labels)]
        parts += [f"Not assessed: {', '.join(not_assessed)}"] if not_assessed else []
        sentences.append(". ".join(parts) + ".")
    return sentences


def _named(finding: Finding) -> str:
    """Return a finding that is not absent; a present one with its threshold, which may be low."""
    meaning, output = finding.code.meaning, finding.output
    probability = percent(output.probability)
    if output.decision is not Decision.PRESENT:
        return f"{meaning} undetermined ({probability})"
    threshold = "" if output.threshold is None else f", threshold {percent(output.threshold)}"
    return f"{meaning} PRESENT ({probability}{threshold})"


def _expected(expectation: Expectation | None, regions: Mapping[str, Code]) -> str:
    if expectation is None:
        return "Nothing expected"
    names = " or ".join(region(key, regions).meaning for key in expectation.regions)
    return f"Expected {names} (from {_SOURCES[expectation.source]})"


def _seen(verdict: ImageVerdict, regions: Mapping[str, Code]) -> str:
    named = [
        f"{region(seen.region, regions).meaning} ({percent(seen.probability)})"
        for seen in verdict.seen
    ]
    return " and ".join(named) or "no body part that the model knows"


def _why_not_checked(image: ReportImage) -> str:
    if not decoded(image):
        return f"Could not be decoded ({_decoding_error(image)})."
    prediction = image.analysis.prediction(Task.BODY_PART)
    if prediction is None:
        return "Body-part model not asked for."
    return _not_run("Body-part model", prediction)


def _decoding_error(image: ReportImage) -> str:
    codes = [p.reason_code for p in image.analysis.predictions if p.reason_code]
    return next(iter([*codes, *image.analysis.notes]), "pixels.unreadable")


def _not_run(model: str, prediction: Prediction) -> str:
    if prediction.outcome is Outcome.FAILED:
        return f"{model} failed ({prediction.reason_code or 'no reason given'})."
    reason = (prediction.reason or prediction.reason_code or "no reason given").rstrip(".")
    return f"{model} not run: {reason}."
