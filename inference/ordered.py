"""What body part was ordered, as a header or a worklist item tells it (pure)."""

from collections.abc import Iterable

from pydicom import Dataset

from inference.elements import items, text
from inference.regions import RegionMap
from inference.types import Expectation, ExpectationSource


def expectation(header: Dataset, regions: RegionMap) -> Expectation | None:
    """Return the body part that the header says was ordered, or None.

    The first source that names a known region decides, in the order of
    `ExpectationSource`: what the order says comes before what the operator typed, and
    Body Part Examined comes last, because modalities fill it with a default. The Request
    Attributes Sequence (PS3.3 Section 10.6) counts like the top level; the Anatomic Region
    Sequence counts as Body Part Examined, whose coded form it is (PS3.3 Section C.7.3.1).

    Parameters
    ----------
    header : Dataset
        A data set as received; broken values count as absent and never raise.
    regions : RegionMap
        The table of regions.
    """
    requests = [header, *items(header, "RequestAttributesSequence")]
    code_items = [i for r in requests for i in items(r, "RequestedProcedureCodeSequence")]
    anatomy = items(header, "AnatomicRegionSequence")
    source = ExpectationSource
    return (
        _from_codes(code_items, source.REQUESTED_PROCEDURE_CODE, regions)
        or _from_texts(
            [text(request, "RequestedProcedureDescription") for request in requests],
            source.REQUESTED_PROCEDURE_DESCRIPTION,
            regions,
        )
        or _from_texts([text(header, "StudyDescription")], source.STUDY_DESCRIPTION, regions)
        or _from_texts([text(header, "SeriesDescription")], source.SERIES_DESCRIPTION, regions)
        or _from_texts(
            [
                text(header, "PerformedProcedureStepDescription"),
                text(header, "ProtocolName"),
            ],
            source.PERFORMED_PROTOCOL,
            regions,
        )
        or _from_codes(anatomy, source.BODY_PART_EXAMINED, regions)
        or _from_texts([text(header, "BodyPartExamined")], source.BODY_PART_EXAMINED, regions)
    )


def worklist_expectation(item: Dataset, regions: RegionMap) -> Expectation | None:
    """Return the body part that a Modality Worklist item orders, or None.

    Reads the requested procedure first, then the scheduled steps (PS3.4 Table K.6-1).
    """
    steps = list(items(item, "ScheduledProcedureStepSequence"))
    codes = [
        *items(item, "RequestedProcedureCodeSequence"),
        *(code for step in steps for code in items(step, "ScheduledProtocolCodeSequence")),
    ]
    texts = [
        text(item, "RequestedProcedureDescription"),
        *(text(step, "ScheduledProcedureStepDescription") for step in steps),
    ]
    source = ExpectationSource.WORKLIST
    return _from_codes(codes, source, regions) or _from_texts(texts, source, regions)


def _from_codes(
    coded: Iterable[Dataset], source: ExpectationSource, regions: RegionMap
) -> Expectation | None:
    """Regions of coded concepts: by the code, else by the words of its meaning."""
    found: dict[str, None] = {}
    words: dict[str, None] = {}
    for item in coded:
        scheme, value = text(item, "CodingSchemeDesignator"), text(item, "CodeValue")
        region = regions.region_for_code(scheme, value)
        if region is not None:
            found[region] = None
            words[f"{value} {scheme}"] = None
            continue
        match = regions.regions_in_text(text(item, "CodeMeaning"))
        found |= dict.fromkeys(match.regions)
        words |= dict.fromkeys(match.matched_words)
    return _expected(found, words, source)


def _from_texts(
    texts: Iterable[str], source: ExpectationSource, regions: RegionMap
) -> Expectation | None:
    matches = [regions.regions_in_text(text) for text in texts if text]
    found = dict.fromkeys(region for match in matches for region in match.regions)
    words = dict.fromkeys(word for match in matches for word in match.matched_words)
    return _expected(found, words, source)


def _expected(
    found: dict[str, None], words: dict[str, None], source: ExpectationSource
) -> Expectation | None:
    if not found:
        return None
    return Expectation(regions=tuple(found), source=source, matched_words=tuple(words))
