"""Does an image show the body part that was ordered? (pure)

`expectation` reads what was ordered from the image's own header; `judge` compares it with what
the body part network saw.

The rule, on the network's calibrated probabilities and each label's operating point:

* the network says the image is none of its business (a label of role ``not_ours`` is
  present): uncertain;
* nothing was ordered that the table knows: not declared;
* a region that fulfils the order is present, or is the most probable region, of probability
  `LEAST_LIKELY` at least and not absent: match;
* every region that fulfils the order is absent, and some other region is present:
  mismatch;
* anything else, such as an order that no network here can check: uncertain.

Laterality is ignored: an image of the left knee fulfils an order for the right one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from inference.manifest import Label
from inference.ordered import expectation
from inference.regions import RegionMap
from inference.types import (
    Expectation,
    ExpectationSource,
    ImageVerdict,
    Outcome,
    Prediction,
    RegionProbability,
    Verdict,
)

__all__ = [
    "Seen",
    "expectation",
    "judge",
    "judge_seen",
]

LEAST_LIKELY = 0.1
"""Below this the most probable region is no answer: something is always the most probable.

What is called a match so, of images filed rightly and wrongly, is in the model's card.
"""

_SOURCE_NAMES = {
    ExpectationSource.WORKLIST: "worklist",
    ExpectationSource.HL7: "HL7 order",
    ExpectationSource.REQUESTED_PROCEDURE_CODE: "Requested Procedure Code",
    ExpectationSource.REQUESTED_PROCEDURE_DESCRIPTION: "Requested Procedure Description",
    ExpectationSource.STUDY_DESCRIPTION: "Study Description",
    ExpectationSource.SERIES_DESCRIPTION: "Series Description",
    ExpectationSource.PERFORMED_PROTOCOL: "performed protocol",
    ExpectationSource.BODY_PART_EXAMINED: "Body Part Examined",
}


def judge(
    expected: Expectation | None,
    prediction: Prediction | None,
    labels: Sequence[Label],
    regions: RegionMap,
) -> ImageVerdict:
    """Compare what was ordered with what the body part network saw.

    Parameters
    ----------
    expected : Expectation, optional
        What was ordered; None when nothing known was declared.
    prediction : Prediction, optional
        The body part network's answer; None, skipped or failed where it did not see it.
    labels : sequence of Label
        ``manifest.labels`` of that network: roles and operating points. A label without
        an operating point is neither present nor absent.
    regions : RegionMap
        The table of regions.

    Returns
    -------
    ImageVerdict
        Always one, by the rule in this module's docstring.
    """
    return judge_seen(expected, Seen.of(prediction, labels, regions), regions)


def judge_seen(expected: Expectation | None, seen: "Seen", regions: RegionMap) -> ImageVerdict:
    """As `judge`, of what was read from a prediction before."""
    verdict, remark = _verdict(expected, seen, regions)
    ordered = _ordered_sentence(expected, regions)
    sentences = (ordered, _seen_sentence(seen, regions), remark)
    return ImageVerdict(
        verdict=verdict,
        expected=expected,
        seen=seen.shown,
        reason=" ".join(sentence for sentence in sentences if sentence),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The network's answer, in regions of the table; made by `Seen.of`."""

    ran: bool
    ranked: tuple[RegionProbability, ...] = ()
    """Every region the network names, the most probable first."""

    present: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()
    not_ours: bool = False
    """Whether the network says that the image is none of its business."""

    @property
    def shown(self) -> tuple[RegionProbability, ...]:
        """What to tell: the regions that are present, or else the most probable one."""
        return tuple(r for r in self.ranked if r.region in self.present) or self.ranked[:1]

    def probability(self, regions: Iterable[str]) -> RegionProbability | None:
        """Return the most probable of `regions`; None where the network names none of them."""
        wanted = frozenset(regions)
        return next((found for found in self.ranked if found.region in wanted), None)

    @classmethod
    def of(
        cls, prediction: Prediction | None, labels: Sequence[Label], regions: RegionMap
    ) -> "Seen":
        """Read a prediction; one that was skipped, failed or never made did not run."""
        if prediction is None or prediction.outcome is not Outcome.PREDICTED:
            return cls(ran=False)
        probabilities: dict[str, float] = {}
        present: set[str] = set()
        absent: set[str] = set()
        not_ours = False
        for label in labels:
            output, point = prediction.label(label.key), label.operating_point
            if output is None:
                continue
            is_present = point is not None and output.probability >= point.present_at
            not_ours = not_ours or (label.role == "not_ours" and is_present)
            region = _region_of(label, regions)
            if label.role != "region" or region is None:
                continue
            probabilities[region] = max(output.probability, probabilities.get(region, 0.0))
            if is_present:
                present.add(region)
            elif point is not None and output.probability < point.absent_below:
                absent.add(region)
        ranked = sorted(probabilities.items(), key=lambda pair: (-pair[1], pair[0]))
        return cls(
            ran=True,
            ranked=tuple(RegionProbability(region=r, probability=p) for r, p in ranked),
            present=frozenset(present),
            absent=frozenset(absent),
            not_ours=not_ours,
        )


def _region_of(label: Label, regions: RegionMap) -> str | None:
    named = regions.region_of_label(label.key)
    term = label.body_part_examined
    return named or (regions.region_of_label(term) if term else None)


def _verdict(expected: Expectation | None, seen: Seen, regions: RegionMap) -> tuple[Verdict, str]:
    """Return the verdict and its last sentence."""
    if seen.not_ours:
        return Verdict.UNCERTAIN, "It does not look like a radiograph this check was made for."
    if expected is None:
        return Verdict.NOT_DECLARED, "Nothing to compare with."
    if not seen.ran:
        return Verdict.UNCERTAIN, "Not checked."
    return _compared(expected.regions, seen, regions)


def _compared(ordered: Sequence[str], seen: Seen, regions: RegionMap) -> tuple[Verdict, str]:
    known = {r.region for r in seen.ranked}
    each = [regions.showing(r) & known if r in regions.regions else frozenset() for r in ordered]
    fulfilling = frozenset[str]().union(*each)
    likely = max([LEAST_LIKELY, *(r.probability for r in seen.ranked[:1])])
    top = {r.region for r in seen.ranked if r.probability >= likely}
    if fulfilling & seen.present or (fulfilling & top) - seen.absent:
        return Verdict.MATCH, "Match."
    if not all(each) or not fulfilling:
        return Verdict.UNCERTAIN, "This check cannot recognise what was ordered. Please look."
    if fulfilling <= seen.absent and seen.present - fulfilling:
        return Verdict.MISMATCH, "Mismatch."
    return Verdict.UNCERTAIN, "Not sure enough to tell. Please look."


def _ordered_sentence(expected: Expectation | None, regions: RegionMap) -> str:
    if expected is None:
        return "No known body part was ordered."
    names = [regions.name(r) if r in regions.regions else r.lower() for r in expected.regions]
    return f"Ordered: {' or '.join(names)} ({_SOURCE_NAMES[expected.source]})."


def _seen_sentence(seen: Seen, regions: RegionMap) -> str:
    if not seen.ran:
        return "The body part could not be read from the image."
    if not seen.ranked:
        return "The network names no body part."
    if not seen.present:
        best = seen.ranked[0]
        return f"Seen: nothing clearly, most likely {_with_percent(best, regions)}."
    return f"Seen: {', '.join(_with_percent(found, regions) for found in seen.shown)}."


def _with_percent(found: RegionProbability, regions: RegionMap) -> str:
    return f"{regions.name(found.region)} ({100 * found.probability:.0f} %)"
